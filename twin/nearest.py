"""The owner's nearest past replies to one contact: what was answered when they wrote something like this before.

Likeness is the cosine of two bursts' sets of three letters in a row: it needs no model, no language and no index, and 2,000
messages are compared in a few milliseconds. What the twin wrote is never shown as the owner's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import sqrt

from twin.turns import Message, bursts

NEWEST = 2_000  # messages that are looked at
LIKE = 0.5  # measured by benchmarks/past_replies.py: in 1 to 8 of 100 messages chance finds as much
LETTERS = 240  # of a burst
LOOKED_AT = 60  # that share most for their length are compared exactly: counting shared letters is five times as fast


@dataclass(frozen=True)
class PastReply:
    """What the contact wrote and what the owner answered, a line a bubble; `likeness` to what they write now, 0 to 1."""

    asked: str
    replied: str
    at: datetime
    likeness: float


def past_replies(history: Sequence[Message], burst: Sequence[Message], *, limit: int = 2, like: float = LIKE) -> list[PastReply]:
    """Those at least so `like`, the likeliest first, of two alike the newer; no reply twice. `history` is one dialog, oldest first; it may
    hold the burst."""
    wanted = _threes(_text(burst))
    if not wanted:
        return []
    newest = {(m.channel, m.message_id) for m in burst}
    runs = bursts([m for m in history[-NEWEST:] if (m.channel, m.message_id) not in newest and not m.unattended])
    alike: list[tuple[float, list[Message], list[Message]]] = []
    for asked, replied in pairwise(runs):
        if asked[0].out or all(m.source == "twin" for m in replied):
            continue
        text = _text(asked)
        common = sum([three in text for three in wanted])
        if common:
            alike.append((common / sqrt(len(text)), asked, replied))
    alike.sort(key=lambda one: one[0], reverse=True)
    found = [
        (likeness, replied[0].sent_at, asked, replied)
        for _, asked, replied in alike[:LOOKED_AT]
        if (likeness := _cosine(wanted, _threes(_text(asked)))) >= like
    ]
    found.sort(key=lambda one: (one[0], one[1]), reverse=True)
    chosen: dict[str, PastReply] = {}
    for likeness, at, asked, replied in found:
        own = _words([m for m in replied if m.source != "twin"])
        chosen.setdefault(own, PastReply(_words(asked), own, at, round(likeness, 3)))
        if len(chosen) == limit:
            break
    return list(chosen.values())[:limit]


def _text(messages: Sequence[Message]) -> str:
    words = " ".join([m.text if m.kind == "text" else f"[{m.kind}] {m.text}" for m in messages])[:LETTERS].casefold().split()
    return f" {' '.join(words)} "


def _threes(text: str) -> set[str]:
    return {text[at : at + 3] for at in range(len(text) - 2)}


def _cosine(one: set[str], other: set[str]) -> float:
    return len(one & other) / sqrt(len(one) * len(other)) if one and other else 0.0


def _words(messages: Sequence[Message]) -> str:
    return "\n".join(m.text if m.kind == "text" else f"[{m.kind}] {m.text}".strip() for m in messages)
