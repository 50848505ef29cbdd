"""Which night is to be played, decided from the rows alone: timers only ask. Pure.

A night is the instant that the schedule named, or the one at which the owner asked for it. It is played once: slept through, it
is made up for after waking; still going on, it is left alone; killed half-way, it is picked up; failed, it is tried again an hour
later, three times in all. What only the owner can mend is not tried again, and what the owner stopped is over.
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
# Errors that the next attempt would meet again: signed out, a wrong setting, nothing to learn from, a broken store.
FOR_THE_OWNER = frozenset({"SessionError", "SettingsError", "InputError", "StoreError"})


@dataclass(frozen=True)
class Night:
    """What is asked of a run."""

    at: datetime
    trigger: Literal["schedule", "owner"]
    full: bool = False


@dataclass(frozen=True)
class Decision:
    """start: for the first time · again: it was killed, or failed a while ago · wait: something goes on, or it is too early
    (`not_before`) · over: there is nothing to do for this night any more."""

    what: Literal["start", "again", "wait", "over"]
    not_before: datetime | None = None


def lives(run: Run, now: datetime) -> bool:
    """Whether its process has said so lately. A laptop that slept lets it look dead, so ask for the training lock too."""
    return run.state == "running" and now - run.heartbeat_at < STALE


def decide(night: Night, known: Sequence[Run], *, now: datetime, is_training: bool) -> Decision:
    """`known` are the attempts at this night and the newest runs of any kind, newest first; `is_training` says whether a
    process, no matter which, holds the training lock."""
    attempts = [run for run in known if run.night_at == night.at]
    if is_training or any(lives(run, now) for run in known):
        return Decision("wait")
    if any(run.kind == "nightly" and run.state == "done" and (run in attempts or run.started_at >= night.at) for run in known):
        return Decision("over")  # also if the owner has played one since
    tried = [run for run in attempts if run.state != "cancelled"]  # a program that was ended in order is no failure
    if any(run.stop_asked_at for run in attempts) or len(tried) >= ATTEMPTS:
        return Decision("over")
    if not attempts:
        return Decision("start")
    last = attempts[0]
    if last.state in ("cancelled", "running") or last.error == INTERRUPTED:
        return Decision("again")
    if night.trigger == "owner" or last.detail.get("failure") in FOR_THE_OWNER:
        return Decision("over")
    asked = timedelta(seconds=float(last.detail.get("wait_seconds", 0)))  # Telegram's own number
    not_before = (last.ended_at or last.heartbeat_at) + max(AGAIN, asked)
    return Decision("again") if now >= not_before else Decision("wait", not_before)
