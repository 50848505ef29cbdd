"""The one renderer: stored messages -> turns -> token ids. Training rows and live prompts both come from here.

messages  one Telegram message each, oldest first
turns     consecutive messages of one side merged: a burst is one turn, its bubbles joined so that they can be split again
tokens    the base model's own chat template, tokenised piece by piece so that a prompt is exactly a prefix of a training row
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

from twin.errors import ModelError
from twin.masking import mask

Role = Literal["system", "user", "assistant"]  # chat-template roles: user = the contact, assistant = the owner


class Message(NamedTuple):
    """One Telegram message of a private chat as stored. `out` claims that the owner's side sent it.

    `kind` is "text", "service", or the kind of its media ("photo", "voice", "sticker", ...); `text` is then the caption.
    `source`: "collected", "imported", "received" (live, through the bot), "business" (through a connection: never learned from),
    "twin" (the twin's own unedited words) or "owner" (typed or edited by the owner through the twin).
    `channel`: "account" (the owner's own chats) or "bot".
    """

    channel: str
    dialog_id: int
    message_id: int
    out: bool
    sent_at: datetime
    text: str
    kind: str = "text"
    reply_to_id: int | None = None
    forwarded: bool = False
    via_bot: bool = False
    source: str = "collected"


class Turn(NamedTuple):
    role: Role
    content: str


# --- bubbles ----------------------------------------------------------------------------------------------------------
# A newline separates bubbles, because that is what a model trained on text takes for "next line of a chat". A newline
# inside a bubble is written as backslash-n; a run of backslashes before an n or a newline is doubled, so nothing is lost.


def join_bubbles(bubbles: Iterable[str]) -> str:
    """Merge the messages of a burst into one turn's content; `split_bubbles` gives them back."""
    return "\n".join(map(_escape, bubbles))


def split_bubbles(content: str) -> list[str]:
    """The messages of a turn. Empty lines, which only a model writes, are dropped."""
    return [_unescape(line) for line in content.split("\n") if line.strip()]


def _escape(bubble: str) -> str:
    if "\n" not in bubble and "\\" not in bubble:
        return bubble
    bubble = bubble.replace("\r\n", "\n")
    if "\\" in bubble:
        bubble = re.sub(r"(\\+)(?=n|\n)", lambda m: m.group(1) * 2, bubble)
    return bubble.replace("\n", "\\n")


def _unescape(line: str) -> str:
    if "\\" not in line:
        return line

    def one(match: re.Match[str]) -> str:
        run = len(match.group(1))
        return "\\" * (run // 2) + ("\n" if run % 2 else "n")

    return re.sub(r"(\\+)n", one, line)


# --- messages -> turns ------------------------------------------------------------------------------------------------


def bubble_text(message: Message, quoted: Message | None = None) -> str:
    """What a model reads for one message: its text, masked, "[voice]" for what has no text, "> ..." for what it answers."""
    text = mask(message.text)
    if message.kind != "text":
        text = f"[{message.kind}] {text}".strip()
    if quoted is not None:
        text = f"> {' '.join(mask(quoted.text).split())[:80] or f'[{quoted.kind}]'}\n{text}"
    return text


def system_turn(owner: str, contact: str) -> Turn:
    """Who the model is and whom it talks to. The same words in training and in serving."""
    return Turn("system", f"You are {owner}, chatting with {contact}.")


def to_turns(messages: Sequence[Message]) -> list[Turn]:
    """Merge a conversation's messages into turns, oldest first. Service messages have no place in it."""
    known = by_key(messages) if any(m.reply_to_id is not None for m in messages) else {}
    return [render_burst(burst, known) for burst in bursts(messages)]


def bursts(messages: Sequence[Message]) -> list[list[Message]]:
    """Runs of consecutive messages of one side, service and empty messages left out."""
    runs: list[list[Message]] = []
    for message in filter(_has_place, messages):
        if runs and runs[-1][0].out == message.out:
            runs[-1].append(message)
        else:
            runs.append([message])
    return runs


def last_burst(messages: Sequence[Message]) -> list[Message]:
    """The last one of `bursts`; empty if there is none."""
    run: list[Message] = []
    for message in filter(_has_place, reversed(messages)):
        if run and run[-1].out != message.out:
            break
        run.append(message)
    return run[::-1]


def _has_place(message: Message) -> bool:
    """In a conversation as the model reads it."""
    return message.kind != "service" and (message.kind != "text" or bool(message.text.strip()))


def by_key(messages: Iterable[Message]) -> dict[tuple[str, int], Message]:
    """Messages by what a reply mark names them with."""
    return {(message.channel, message.message_id): message for message in messages}


def render_burst(burst: Sequence[Message], known: Mapping[tuple[str, int], Message]) -> Turn:
    """One turn. A contact's reply mark shows what it quotes, if the conversation (`known`) has it; the owner's never does,
    because the model must not learn to write quotes."""
    out = burst[0].out
    quoted = [None if out or m.reply_to_id is None else known.get((m.channel, m.reply_to_id)) for m in burst]
    return Turn("assistant" if out else "user", join_bubbles(map(bubble_text, burst, quoted)))


def last_conversation(messages: Sequence[Message], gap_seconds: float) -> Sequence[Message]:
    """The newest run of messages without a gap of `gap_seconds` or more: what a live prompt is made from."""
    start = len(messages)
    while start > 0:
        start -= 1
        if start and (messages[start].sent_at - messages[start - 1].sent_at).total_seconds() >= gap_seconds:
            break
    return messages[start:]


# --- turns -> tokens --------------------------------------------------------------------------------------------------


class ChatTokenizer(Protocol):
    """The part of a Hugging Face tokenizer that the renderer needs."""

    eos_token: Any
    chat_template: Any
    added_tokens_decoder: Any

    def apply_chat_template(self, conversation: Any, *, tokenize: bool, add_generation_prompt: bool) -> Any: ...
    def encode(self, text: str, *, add_special_tokens: bool) -> Any: ...


@dataclass(frozen=True)
class Rendered:
    """`ids` of a whole row; `spans` gives for each assistant turn `(index of the turn, first, end)` of what it must
    produce: its words and the end-of-turn token. `ids[:first]` is exactly the prompt that serving would send."""

    ids: list[int]
    spans: list[tuple[int, int, int]]


REMEMBERED = 50_000  # texts whose tokens are kept
_PLACE = re.compile("\ue000(\\d+)\ue001")  # private-use characters: no template writes them
_NO_FIT = "The base model's chat template rewrites or drops earlier turns."


class Renderer:
    """Turns -> token ids with one tokenizer's chat template. Raises ModelError if there is none or it rewrites history.

    A template is asked only for its marks, the text around the contents of turns with given roles. The contents are put
    between them afterwards, so rendering a row costs no more than encoding it, and nobody can write a mark in a message.
    """

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        if not tokenizer.chat_template:
            raise ModelError("The base model's tokenizer has no chat template.", mend="Choose an instruction-tuned model (model.base).")
        self.tokenizer = tokenizer
        self._ids: dict[str, list[int]] = {}
        self._marks: dict[tuple[bool, tuple[Role, ...]], list[str]] = {}
        special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        self.special = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)")
        talk: tuple[Role, ...] = ("user", "assistant", "user", "assistant", "user")
        self._system_allowed = self._keeps(("system", *talk))
        self._assistant_first_allowed = self._keeps((*(("system",) if self._system_allowed else ()), *talk[1:]))
        if not self._keeps(talk):
            raise ModelError(_NO_FIT, mend="Choose another model (model.base).")
        first, *between = self._around((*(("system",) if self._system_allowed else ()), *talk), ask=False)
        self._head = len(self._encode(first)) + 6  # 6: the end of the last turn; where there is no system role, the seam
        self._mark = max(len(self._encode(text)) for text in between)

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Token ids that ask for the next assistant turn."""
        kept = self._fit(turns)
        pieces = self._around(_roles(kept), ask=True)
        return self._assemble(kept, pieces, [], ask=True)

    def row(self, turns: Sequence[Turn]) -> Rendered:
        """A training row: everything up to the end of the last assistant turn, and the span of each assistant turn."""
        kept = self._fit(turns)
        shift = len(turns) - len(kept)  # what _fit took from the front
        while kept and kept[-1].role != "assistant":
            kept.pop()
        if not kept:
            return Rendered([], [])
        # Some templates treat the last turn apart (Qwen3 gives it an empty thought), so the last is rendered as one of many.
        pieces = self._around((*_roles(kept), "user"), ask=False)[:-1]
        spans: list[tuple[int, int, int]] = []
        ids = self._assemble(kept, pieces, spans, ask=False)
        return Rendered(ids, [(i + shift, first, end) for i, first, end in spans])

    def count(self, turn: Turn) -> int:
        """How many tokens a turn takes at most, the template's marks included: what windows are cut by."""
        return len(self._encode(plain(turn.content, self.special))) + (self._head if turn.role == "system" else self._mark)

    def _assemble(self, turns: Sequence[Turn], pieces: list[str], spans: list[tuple[int, int, int]], *, ask: bool) -> list[int]:
        """Encode in pieces that end where an assistant turn begins and ends: a prompt then is exactly a prefix of a row."""
        roles = _roles(turns)
        ids: list[int] = []
        text = pieces[0]
        for i, turn in enumerate(turns):
            if turn.role != "assistant":
                text += turn.content + pieces[i + 1]
                continue
            asked = self._around(roles[:i], ask=True)
            if not _continues(pieces, asked):
                raise ModelError(_NO_FIT, mend="Choose another model (model.base).")
            led = len(text) - len(pieces[i]) + len(asked[-1])  # a template may begin the reply itself, with a space say
            end = self._turn_end(pieces[i + 1])
            ids += self._encode(text[:led])
            first = len(ids)
            ids += self._encode(text[led:] + turn.content + pieces[i + 1][:end])
            spans.append((i, first, len(ids)))
            text = pieces[i + 1][end:]
        return ids + self._encode(text) if ask else ids

    def _turn_end(self, piece: str) -> int:
        """How much of what follows an assistant turn is its end: up to the end token, or the first word (Gemma's mark)."""
        eos = str(self.tokenizer.eos_token)
        at = piece.find(eos)
        if at >= 0:
            return at + len(eos)
        mark = self.special.search(piece)
        return mark.end() if mark else len(piece) - len(piece.lstrip())

    def _around(self, roles: tuple[Role, ...], *, ask: bool) -> list[str]:
        """The template's text before, between and after the contents of turns with these roles."""
        if not roles:
            raise ModelError("A prompt needs a turn.")
        found = self._marks.get((ask, roles))
        if found is None:
            turns = [{"role": role, "content": f"\ue000{i}\ue001"} for i, role in enumerate(roles)]
            text = str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask))
            if _PLACE.findall(text) != [str(i) for i in range(len(roles))]:
                raise ModelError(_NO_FIT, mend="Choose another model (model.base).")
            found = self._marks[ask, roles] = _PLACE.split(text)[::2]
        return found

    def _keeps(self, roles: tuple[Role, ...]) -> bool:
        """Whether the template takes these roles, and what it writes for a turn stays when others follow."""
        try:
            pieces = self._around(roles, ask=False)
            return all(_continues(pieces, self._around(roles[:i], ask=True)) for i, role in enumerate(roles) if role == "assistant")
        except ModelError:
            return False
        except Exception as refusal:
            # Templates refuse with jinja2.TemplateError and its kin, which the core does not import.
            if any(kind.__name__ == "TemplateError" for kind in type(refusal).__mro__):
                return False
            raise

    def _encode(self, text: str) -> list[int]:
        if not text:
            return []
        found = self._ids.get(text)
        if found is None:
            if len(self._ids) >= REMEMBERED:
                self._ids.clear()
            found = self._ids[text] = list(self.tokenizer.encode(text, add_special_tokens=False))
        return found

    def _fit(self, turns: Sequence[Turn]) -> list[Turn]:
        """Bend turns to what the template takes: some know no system role, some want the contact first."""
        kept = [Turn(turn.role, plain(turn.content, self.special)) for turn in turns]
        system = kept.pop(0) if kept and kept[0].role == "system" else None
        if not self._assistant_first_allowed:
            while kept and kept[0].role == "assistant":
                kept.pop(0)
        if system and self._system_allowed:
            return [system, *kept]
        if system and kept and kept[0].role == "user":
            kept[0] = Turn("user", f"{system.content}\n\n{kept[0].content}")
        return kept


def plain(content: str, special: re.Pattern[str]) -> str:
    """A content as words: without spaces around it (most templates trim), and without the tokenizer's special tokens,
    so that no contact can end their turn and write the owner's or the system's."""
    return special.sub(lambda m: f"{m.group()[0]} {m.group()[1:]}", content.strip())


def _roles(turns: Sequence[Turn]) -> tuple[Role, ...]:
    return tuple(turn.role for turn in turns)


def _continues(pieces: list[str], asked: list[str]) -> bool:
    """Whether a text with these marks begins with the prompt that has the marks `asked`."""
    return asked[:-1] == pieces[: len(asked) - 1] and pieces[len(asked) - 1].startswith(asked[-1])
