"""The owner's wish for another variant: which of several candidates is shorter, warmer, or just another."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from twin.folding import fold
from twin.turns import split_bubbles
from twin.word_lists import WordLists

if TYPE_CHECKING:
    from twin.store.drafts import Wish

_SMILEY = re.compile(r"[:;=][-']?[)DPp*]|<3|\^\^|\bx+o*x*\b", re.IGNORECASE)
_COLD = "😠😡🤬😤🙄😒👎🖕💀☠"
WARM_WORD, EMOJI, EXCLAMATION = 2.0, 1.5, 1.0
MOST = 3  # emoji or exclamation marks that count
WORD = 0.1  # a little for each word: who takes the time is kinder
MOST_WORDS = 15


def pick(wish: Wish, current: str, candidates: Sequence[str], lists: WordLists, *, seen: Collection[str] = ()) -> str | None:
    """The candidate (a turn) that grants the wish best; None if none does. The first of equals.

    shorter   the fewest characters, fewer than `current` has
    warmer    the highest warmth, higher than that of `current`
    another   the first that says something else than `current`

    None of them says what is in `seen`, but for upper case, accents and spaces.
    """
    known = {_normal(current), *map(_normal, seen)}
    others = [candidate for candidate in candidates if candidate.strip() and _normal(candidate) not in known]
    if wish == "shorter":
        return min((one for one in others if _length(one) < _length(current)), key=_length, default=None)
    if wish == "warmer":
        bar = warmth(current, lists)
        return max((one for one in others if warmth(one, lists) > bar), key=lambda one: warmth(one, lists), default=None)
    return others[0] if others else None


def warmth(text: str, lists: WordLists) -> float:
    """How warm a turn sounds: kind words (the lists' topic "warm"), smiling emoji, exclamation marks, and a little for length."""
    emoji = sum(unicodedata.category(c) == "So" and c not in _COLD for c in text) + len(_SMILEY.findall(text))
    return round(
        WARM_WORD * lists.count(fold(text), "warm")
        + EMOJI * min(emoji, MOST)
        + EXCLAMATION * min(text.count("!") + text.count("！"), MOST)
        + WORD * min(len(text.split()), MOST_WORDS),
        2,
    )


def _length(text: str) -> int:
    return sum(map(len, split_bubbles(text)))


def _normal(text: str) -> str:
    return " ".join(fold(text).split())
