"""Tempo: how long the owner takes to answer one contact, learned from what really happened and drawn again for the twin.

    the contact's burst ──reply delay──▶ the owner's first bubble ──gap──▶ the next bubble ...

A reply delay runs from the contact's last message to the owner's first one, whether that took ten seconds or two days. It is
kept under the local hour at which the contact wrote, because people answer differently at noon and at night. An hour with few
replies borrows from the hours around it, then from all hours of the dialog, then from DEFAULT_DELAYS.

Nothing here is cached: learning is one pass over a dialog (5,000 messages in about 10 ms), and a dialog changes with each message.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from statistics import median

from twin.turns import Message

FEW = 8  # fewer samples say nothing about an hour
LONGEST_REPLY = 14 * 86_400.0  # seconds; whoever writes later begins anew
LONGEST_GAP = 300.0  # seconds between bubbles of one thought
TYPED_GAP = 60.0  # a longer gap is thinking, not typing
SLOWEST, FASTEST = 1.0, 15.0  # characters a second
DEFAULT_DELAYS = (8.0, 20.0, 45.0, 90.0, 180.0, 420.0, 900.0)
DEFAULT_GAPS = (1.5, 3.0, 5.0, 9.0)
DEFAULT_SPEED = 5.0
READING = 1.5, 4.0  # seconds between reading and typing
LONGEST_TYPING = 30.0  # seconds that "typing" is shown for one bubble at most
PARTS_OF_DAY = {"night": range(0, 6), "morning": range(6, 12), "afternoon": range(12, 18), "evening": range(18, 24)}


@dataclass(frozen=True)
class Timing:
    """One bubble: typing is shown from `typing_at`, and it may go from `not_before_at`."""

    text: str
    typing_at: datetime
    not_before_at: datetime


@dataclass(frozen=True)
class Plan:
    read_at: datetime
    bubbles: tuple[Timing, ...]


@dataclass(frozen=True)
class Tempo:
    """Samples in seconds, each list ascending. `delays` by the local hour in which the contact wrote."""

    zone: tzinfo
    delays: tuple[tuple[float, ...], ...] = field(default=((),) * 24)
    gaps: tuple[float, ...] = ()
    speed: float = DEFAULT_SPEED  # characters a second
    typed: int = 0  # bubbles that the speed was learned from

    @property
    def replies(self) -> int:
        return sum(map(len, self.delays))

    def delays_at(self, hour: int) -> tuple[float, ...]:
        """The reply delays that speak for this hour: its own, else with its neighbours', else all, else the default."""
        for around in (0, 1, 2):
            found = [delay for near in range(hour - around, hour + around + 1) for delay in self.delays[near % 24]]
            if len(found) >= FEW:
                return tuple(sorted(found))
        found = [delay for hours in self.delays for delay in hours]
        return tuple(sorted(found)) if len(found) >= FEW else DEFAULT_DELAYS

    def plan(self, bubbles: Sequence[str], *, asked_at: datetime, now: datetime, chance: random.Random, longest_seconds: float) -> Plan:
        """When to read, type and send. Nothing lies in the past, nothing more than `longest_seconds` ahead; the reply delay counts
        from `asked_at`, when the contact wrote, so what the engine took is part of it."""
        last = now + timedelta(seconds=longest_seconds)
        due = asked_at + timedelta(seconds=_drawn(self.delays_at(asked_at.astimezone(self.zone).hour), chance))
        gaps = self.gaps if len(self.gaps) >= FEW else DEFAULT_GAPS
        timings: list[Timing] = []
        free = now
        for text in bubbles:
            typing = self._typing_seconds(text)
            if timings:
                # A long bubble takes at least half of what it takes to type it, whatever gap was drawn.
                due = timings[-1].not_before_at + timedelta(seconds=max(_drawn(gaps, chance), typing / 2))
            due = min(max(due, free), last)
            timings.append(Timing(text, min(max(due - timedelta(seconds=typing), free), due), due))
            free = due
        read_at = max(timings[0].typing_at - timedelta(seconds=chance.uniform(*READING)), now) if timings else now
        return Plan(read_at, tuple(timings))

    def _typing_seconds(self, text: str) -> float:
        return min(len(text) / self.speed, LONGEST_TYPING)


def instant(now: datetime, bubbles: Sequence[str]) -> Plan:
    return Plan(now, tuple(Timing(text, now, now) for text in bubbles))


def learn(messages: Sequence[Message], zone: tzinfo) -> Tempo:
    """From one dialog's messages over any channel, oldest first. What the twin sent answers a contact and teaches nothing."""
    delays: list[list[float]] = [[] for _ in range(24)]
    gaps: list[float] = []
    speeds: list[float] = []
    before: Message | None = None
    for message in messages:
        if message.kind == "service":
            continue
        if before is not None and message.out and not (message.via_bot or message.unattended) and message.source not in ("twin", "owner"):
            seconds = (message.sent_at - before.sent_at).total_seconds()
            if not before.out:
                if seconds <= LONGEST_REPLY:
                    delays[before.sent_at.astimezone(zone).hour].append(max(seconds, 0.0))
            elif seconds <= LONGEST_GAP and before.source == message.source:
                gaps.append(max(seconds, 0.0))
                # Telegram counts whole seconds, so a gap of one is anything up to two.
                if message.kind == "text" and not message.forwarded and 1.0 <= seconds <= TYPED_GAP and len(message.text) >= 3:
                    speeds.append(len(message.text) / seconds)
        before = message
    speed = min(max(median(speeds), SLOWEST), FASTEST) if len(speeds) >= FEW else DEFAULT_SPEED
    return Tempo(zone, tuple(tuple(sorted(hour)) for hour in delays), tuple(sorted(gaps)), speed, len(speeds))


def together(tempos: Iterable[Tempo], zone: tzinfo) -> Tempo:
    """The tempo over several dialogs; the speed is their mean, by how much each was learned from."""
    known = list(tempos)
    delays = tuple(tuple(sorted(delay for tempo in known for delay in tempo.delays[hour])) for hour in range(24))
    typed = sum(tempo.typed for tempo in known)
    speed = sum(tempo.speed * tempo.typed for tempo in known) / typed if typed >= FEW else DEFAULT_SPEED
    return Tempo(zone, delays, tuple(sorted(gap for tempo in known for gap in tempo.gaps)), speed, typed)


@dataclass(frozen=True)
class Habit:
    """A tempo in a few numbers, for people; None where there are too few samples to say."""

    replies: int
    median_seconds: float | None
    by_part_of_day: dict[str, float | None]
    gap_seconds: float | None
    characters_a_second: float | None


def describe(tempo: Tempo) -> Habit:
    def middle(samples: Sequence[float]) -> float | None:
        return round(median(samples), 1) if len(samples) >= FEW else None

    def of(hours: Iterable[int]) -> list[float]:
        return [delay for hour in hours for delay in tempo.delays[hour]]

    return Habit(
        replies=tempo.replies,
        median_seconds=middle(of(range(24))),
        by_part_of_day={part: middle(of(hours)) for part, hours in PARTS_OF_DAY.items()},
        gap_seconds=middle(tempo.gaps),
        characters_a_second=round(tempo.speed, 1) if tempo.typed >= FEW else None,
    )


def _drawn(samples: Sequence[float], chance: random.Random) -> float:
    """A value between the samples (ascending), each stretch between two as likely as another."""
    place = chance.random() * (len(samples) - 1)
    at = int(place)
    if at + 1 >= len(samples):
        return samples[-1]
    return samples[at] + (samples[at + 1] - samples[at]) * (place - at)
