"""The owner's past replies to a contact that are nearest to what the contact wrote now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from twin.turns import Message, bursts


@dataclass(frozen=True)
class PastReply:
    """What the contact had written, what the owner answered, when, and how near the words are (0 to 1)."""

    asked: str
    replied: str
    at: datetime
    likeness: float


def past_replies(history: Sequence[Message], burst: Sequence[Message], *, limit: int = 2) -> list[PastReply]:
    """By the share of words in common."""
    asked = _words(burst)
    runs = bursts([message for message in history if message not in burst])
    found = []
    for before, after in pairwise(runs):
        if before[0].out or any(message.source == "twin" for message in after):
            continue
        words = _words(before)
        likeness = len(asked & words) / max(1, len(asked | words))
        if likeness > 0:
            found.append(PastReply(_text(before), _text(after), after[0].sent_at, likeness))
    return sorted(found, key=lambda reply: (-reply.likeness, -reply.at.timestamp()))[:limit]


def _words(messages: Sequence[Message]) -> set[str]:
    return {word.strip(".,!?").casefold() for message in messages for word in message.text.split()}


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(message.text for message in messages)
