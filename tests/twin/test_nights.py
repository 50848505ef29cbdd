"""Which night is played: once each, whatever was slept through, killed or still goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from twin.nights import AGAIN, ATTEMPTS, FOR_THE_OWNER, STALE, Decision, Night, decide
from twin.store.runs import INTERRUPTED, Run

AT = datetime(2026, 6, 2, 2, tzinfo=UTC)
NOW = AT + timedelta(hours=1)
NIGHT, ORDER = Night(AT, "schedule"), Night(AT, "owner")
START, AGAIN_NOW, WAIT, OVER = Decision("start"), Decision("again"), Decision("wait"), Decision("over")


def run(state: str, *, ago: timedelta = timedelta(minutes=30), **more: Any) -> Run:
    """An attempt at the night; it ended, or was last heard of, so long ago."""
    at = NOW - ago
    ended = None if state == "running" else at
    made = Run("r", "nightly", state, "train", at, at, ended, {}, None, "schedule", AT, {}, None, "", None)
    return replace(made, **more)


def due(*known: Run, night: Night = NIGHT, is_training: bool = False) -> Decision:
    return decide(night, known, now=NOW, is_training=is_training)


def failed(error: str = "TelegramError", *, ago: timedelta = AGAIN, **more: Any) -> Run:
    return run("failed", ago=ago, error="Telegram cannot be reached.", detail={"failure": error} | more)


def test_a_night_that_came_is_played_once():
    assert due() == START
    assert due(run("done")) == OVER


def test_one_that_the_owner_has_played_since_counts_and_one_from_before_does_not():
    own = run("done", night_at=None, trigger="terminal")
    assert due(own) == OVER
    assert due(replace(own, started_at=AT - timedelta(minutes=1))) == START
    assert due(replace(own, kind="train")) == START, "a training alone is no night"


def test_one_that_still_runs_is_left_alone_whoever_started_it():
    assert due(run("running", ago=STALE / 2)) == WAIT
    assert due(run("running", ago=STALE / 2, night_at=None, trigger="terminal", kind="train")) == WAIT
    assert due(run("running", ago=STALE * 9), is_training=True) == WAIT, "this machine slept, the run lives"
    assert due(is_training=True) == WAIT


def test_one_that_was_killed_is_picked_up_at_once():
    assert due(run("running", ago=STALE * 2)) == AGAIN_NOW
    assert due(run("failed", ago=timedelta(minutes=2), error=INTERRUPTED)) == AGAIN_NOW
    assert due(run("failed", ago=timedelta(minutes=2), error=INTERRUPTED, trigger="owner"), night=ORDER) == AGAIN_NOW


def test_one_that_was_ended_with_the_program_is_picked_up_and_one_that_was_stopped_is_over():
    assert due(run("cancelled")) == AGAIN_NOW
    assert due(*[run("cancelled")] * (ATTEMPTS + 2)) == AGAIN_NOW, "ending a program is no failure"
    assert due(run("cancelled", stop_asked_at=NOW)) == OVER
    assert due(run("failed", error=INTERRUPTED, stop_asked_at=NOW)) == OVER, "it had to be killed"


def test_one_that_failed_is_tried_again_an_hour_later():
    assert due(failed(ago=timedelta(minutes=59))) == Decision("wait", NOW + timedelta(minutes=1))
    assert due(failed(ago=AGAIN)) == AGAIN_NOW


def test_a_flood_wait_is_waited_for_to_its_end():
    assert due(failed("FloodError", wait_seconds=7200)) == Decision("wait", NOW + timedelta(hours=1))
    assert due(failed("FloodError", ago=timedelta(hours=2), wait_seconds=7200)) == AGAIN_NOW


@pytest.mark.parametrize("error", sorted(FOR_THE_OWNER))
def test_what_only_the_owner_can_mend_is_not_tried_again(error):
    assert due(failed(error)) == OVER


def test_what_the_owner_asked_for_and_failed_is_his_to_ask_again():
    assert due(failed(), night=ORDER) == OVER


def test_after_three_attempts_the_night_is_given_up():
    killed = run("failed", ago=timedelta(hours=3), error=INTERRUPTED)
    assert due(*[killed] * (ATTEMPTS - 1)) == AGAIN_NOW
    assert due(*[killed] * ATTEMPTS) == OVER
