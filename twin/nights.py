"""Which night is to be played, decided from the rows alone: timers only ask. Pure.

A night is the instant that the schedule named. It is played once: slept through, it is made up for after waking; still going
on, it is left alone; killed half-way, it is picked up; failed, it is tried again an hour later, three times in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from twin.store.runs import INTERRUPTED, Run

STALE = timedelta(seconds=90)  # a run that lives beats every 15 s
AGAIN = timedelta(hours=1)
ATTEMPTS = 3


@dataclass(frozen=True)
class Decision:
    """`night_at` is the night's key. "start": for the first time; "again": it was killed, or it failed a while ago."""

    what: Literal["start", "again", "nothing"]
    night_at: datetime | None = None


def decide(
    night_at: datetime | None,
    attempts: Sequence[Run],
    newest: Run | None,
    *,
    now: datetime,
    since: datetime,
    catch_up: timedelta,
) -> Decision:
    """`night_at` is the newest instant of the schedule that has passed, `attempts` its runs, newest first; `newest` is the newest
    run of any kind; nights before `since`, when the bot was first started, count as played."""
    nothing = Decision("nothing")
    if night_at is None or night_at > now or night_at < since or now - night_at > catch_up:
        return nothing
    if newest and newest.state == "running" and now - newest.heartbeat_at < STALE:
        return nothing  # whoever started it
    if not attempts:
        return Decision("start", night_at)
    last = attempts[0]
    if last.state in ("done", "cancelled") or len(attempts) >= ATTEMPTS:
        return nothing
    killed = last.state == "running" or last.error == INTERRUPTED
    if killed or now - (last.ended_at or last.heartbeat_at) >= AGAIN:
        return Decision("again", night_at)
    return nothing
