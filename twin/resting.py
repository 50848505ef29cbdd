"""Not answering is an answer: what the owner lets rest with this contact ("ok", a thumb, a sticker), the twin lets rest too.

A case is an earlier light burst of the contact that is like the newest one: the owner wrote before the contact wrote anew and
within HOURS, or did not. Questions never rest, and neither does anything of more than a few words.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from twin.folding import fold
from twin.turns import Message

HOURS = timedelta(hours=12)
RECENT = timedelta(days=365)  # people change
ANEW = timedelta(minutes=30)  # a contact who writes on after so long begins anew: the silence before was an answer
CASES, SHARE = 5, 0.6
LONGEST = 24  # characters of a light message
MOST_WORDS = 3
LIGHT_KINDS = frozenset({"sticker", "animation", "dice"})
QUESTION = re.compile("[?？؟]")
_LAUGH = re.compile(r"[aeiouаеи]?(?:(?:h[aeiou]|j[aei]|x[aeiou]|х[аеи]|ה|ㅋ|ㅎ|哈|呵|嘿|w|k|5|ه))+h?|lo+l|lmf?ao|rofl|mdr|ptdr|😂+|🤣+")
_WORDLESS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Rest:
    """The owner let `share` of `cases` like this one rest."""

    share: float
    cases: int


def rests(history: Sequence[Message], burst: Sequence[Message], *, now: datetime) -> Rest | None:
    """Whether the owner usually lets such a burst rest. None if not, or if there are too few cases to say.

    `history` is one dialog, oldest first; it may hold the burst, which is no case itself."""
    wanted = kind_of(burst)
    if wanted is None:
        return None
    # All of the burst is still unanswered, perhaps because nobody could answer (quiet hours, an outage): none of it is a case.
    newest = {(m.channel, m.message_id) for m in burst}
    talk = [m for m in history if (m.channel, m.message_id) not in newest and now - m.sent_at < RECENT]
    rested = [rest for kind, rest in _cases([*talk, *burst], newest) if kind == wanted]
    share = sum(rested) / len(rested) if rested else 0.0
    return Rest(round(share, 2), len(rested)) if len(rested) >= CASES and share >= SHARE else None


def kind_of(burst: Sequence[Message]) -> str | None:
    """What a light burst is like: its last message's text without case, emphasis and repetition, or what it is. None if not light."""
    kinds = [_light(message) for message in burst]
    return kinds[-1] if kinds and None not in kinds else None


def _light(message: Message) -> str | None:
    if message.kind in LIGHT_KINDS:
        return f"[{message.kind}]"
    text = message.text.strip()
    if message.kind != "text" or message.forwarded or not text or len(text) > LONGEST or QUESTION.search(text):
        return None
    folded = fold(text)
    plain = _WORDLESS.sub(" ", folded).strip()
    if not plain:
        return "[emoji]" if not text.isascii() else f"[{folded[:1]}]"
    if len(plain.split()) > MOST_WORDS:
        return None
    if _LAUGH.fullmatch(plain.replace(" ", "")):
        return "[laugh]"
    return re.sub(r"(\w)\1+", r"\1", plain)  # "okkk" is "ok", "sooo" is "so"


def _cases(messages: Sequence[Message], newest: Container[tuple[str, int]]) -> Iterator[tuple[str, bool]]:
    """(what it was like, whether it was let rest) of every earlier light burst whose fate was the owner's doing."""
    for run, following in pairwise(_runs([message for message in messages if not message.unattended])):
        if run[0].out or any((m.channel, m.message_id) in newest for m in run):
            continue
        kind = kind_of(run)
        is_answer = following[0].out and following[0].sent_at - run[-1].sent_at <= HOURS
        if kind is not None and not (is_answer and following[0].source == "twin"):  # which says nothing about the owner
            yield kind, not is_answer


def _runs(messages: Sequence[Message]) -> list[list[Message]]:
    """Bursts, parted where the contact fell silent for a while and then wrote anew."""
    runs: list[list[Message]] = []
    for message in messages:
        if message.kind == "service" or (message.kind == "text" and not message.text.strip()):
            continue
        goes_on = runs and runs[-1][0].out == message.out and (message.out or message.sent_at - runs[-1][-1].sent_at < ANEW)
        if goes_on:
            runs[-1].append(message)
        else:
            runs.append([message])
    return runs
