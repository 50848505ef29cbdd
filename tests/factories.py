"""Messages of one private chat in few words: `chat(them("hi"), me("hey", after=5), them("dinner?", after=90))`."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from twin.turns import Message

START = datetime(2025, 3, 1, 9, 0, tzinfo=UTC)
HOUR, DAY = 60.0, 1440.0  # in minutes, the unit of `after`


@dataclass(frozen=True)
class Said:
    out: bool
    text: str
    after: float
    fields: dict[str, Any] = field(default_factory=dict)


def me(text: str, *, after: float = 1.0, **fields: Any) -> Said:
    """A message of the owner, `after` minutes after the one before."""
    return Said(True, text, after, fields)


def them(text: str, *, after: float = 1.0, **fields: Any) -> Said:
    """A message of the contact."""
    return Said(False, text, after, fields)


def chat(*said: Said, dialog_id: int = 7, channel: str = "account", start: datetime = START, first_id: int = 1) -> list[Message]:
    """The messages have ids from `first_id` on, so that `reply_to_id=first_id + 2` marks the third."""
    at = start
    found = []
    for i, one in enumerate(said):
        at += timedelta(minutes=one.after)
        found.append(Message(channel, dialog_id, first_id + i, one.out, at, one.text, **one.fields))
    return found


def exchanges(count: int, *, dialog_id: int = 7, start: datetime = START, every: float = 10.0) -> list[Message]:
    """`count` times a question and its answer, no two texts alike."""
    said = []
    for i in range(count):
        said += [them(f"question {dialog_id} number {i}", after=every), me(f"answer {dialog_id} number {i}")]
    return chat(*said, dialog_id=dialog_id, start=start)


def random_chat(seed: int, *, dialog_id: int = 7, length: int = 120) -> list[Message]:
    """Bursts, silences, reply marks forwards, backwards and into the void, media, forwards; no two texts alike."""
    draw = random.Random(seed)
    said = []
    for i in range(length):
        fields: dict[str, Any] = {}
        if draw.random() < 0.15:
            fields["reply_to_id"] = draw.randint(1, length + 20)
        if draw.random() < 0.05:
            fields["forwarded"] = True
        if draw.random() < 0.05:
            fields["kind"] = draw.choice(["photo", "voice", "service"])
        if draw.random() < 0.05:
            fields["source"] = draw.choice(["twin", "owner"])
        after = draw.choice([0.2, 1, 5, 30, 90, 400, 2 * DAY]) if draw.random() < 0.5 else 0.5
        words = " ".join(draw.choice(["so", "well", "yes", "no", "tea\nat five", "later"]) for _ in range(draw.randint(0, 12)))
        said.append(Said(draw.random() < 0.5, f"{words} d{dialog_id}m{i + 1}.", after, fields))
    return chat(*said, dialog_id=dialog_id)
