"""Which night is played: once each, whatever was slept through, killed or still goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from twin.nights import AGAIN, ATTEMPTS, STALE, Decision, decide
from twin.store.runs import INTERRUPTED, Run

NIGHT = datetime(2026, 6, 2, 2, tzinfo=UTC)
NOTHING = Decision("nothing")


def run(state: str, *, ago: timedelta = timedelta(minutes=30), now: datetime = NIGHT + timedelta(hours=1), error: str | None = None) -> Run:
    at = now - ago
    ended = None if state == "running" else at
    return Run("r", "nightly", state, "train", at, at, ended, {}, error, "schedule", NIGHT, {}, None, "", None)


def due(*attempts: Run, after: timedelta = timedelta(hours=1), newest: Run | None = None, **more: Any) -> Decision:
    known: dict[str, Any] = {"since": NIGHT - timedelta(days=9), "catch_up": timedelta(hours=20)} | more
    return decide(NIGHT, attempts, newest or (attempts[0] if attempts else None), now=NIGHT + after, **known)


@pytest.mark.parametrize("after", [timedelta(0), timedelta(hours=7), timedelta(hours=20)])
def test_a_night_that_came_is_played_also_hours_later(after):
    assert due(after=after) == Decision("start", NIGHT)


def test_not_before_its_time_nor_when_it_is_long_past():
    assert due(after=-timedelta(seconds=1)) == NOTHING
    assert due(after=timedelta(hours=20, seconds=1)) == NOTHING
    assert decide(None, [], None, now=NIGHT, since=NIGHT, catch_up=AGAIN) == NOTHING


def test_a_night_before_the_first_start_is_not_made_up_for():
    assert due(since=NIGHT + timedelta(minutes=1)) == NOTHING


@pytest.mark.parametrize("state", ["done", "cancelled"])
def test_what_was_played_or_stopped_is_not_played_again(state):
    assert due(run(state)) == NOTHING


def test_one_that_still_runs_is_left_alone_whoever_started_it():
    assert due(run("running", ago=STALE / 2)) == NOTHING
    others = replace(run("running", ago=STALE / 2), night_at=None, trigger="terminal")
    assert due(newest=others) == NOTHING


def test_one_that_was_killed_is_picked_up_at_once():
    assert due(run("running", ago=STALE * 2)) == Decision("again", NIGHT)
    assert due(run("failed", ago=timedelta(minutes=2), error=INTERRUPTED)) == Decision("again", NIGHT)


def test_one_that_failed_is_tried_again_an_hour_later():
    failed = run("failed", ago=timedelta(minutes=59), error="Telegram cannot be reached.")
    assert due(failed) == NOTHING
    assert due(run("failed", ago=AGAIN, error="Telegram cannot be reached.")) == Decision("again", NIGHT)


def test_after_three_attempts_the_night_is_given_up():
    killed = run("failed", ago=timedelta(hours=3), error=INTERRUPTED)
    assert due(*[killed] * (ATTEMPTS - 1)) == Decision("again", NIGHT)
    assert due(*[killed] * ATTEMPTS) == NOTHING
