"""Tempo: delays, gaps and typing as the owner has them with this contact at this hour; plans that keep within bounds."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from factories import DAY, HOUR, chat, me, random_chat, them

from twin import tempo
from twin.tempo import DEFAULT_DELAYS, DEFAULT_SPEED, Tempo

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2025, 6, 1, 10, 0, 5, tzinfo=UTC)
ASKED = NOW - timedelta(seconds=5)


def every_day(minutes: float, *, times: int = 10, hour: int = 9) -> list:
    """A question a day at that hour (UTC), each answered so many minutes later."""
    said = []
    for _ in range(times):
        said += [them("hm?", after=DAY - minutes), me("yes", after=minutes)]
    return chat(*said, start=datetime(2025, 1, 1, hour, 0, tzinfo=UTC))


def plan(known: Tempo, *bubbles: str, seed: int = 1, longest: float = 1e9, asked_at: datetime = ASKED):
    return known.plan(bubbles, asked_at=asked_at, now=NOW, chance=random.Random(seed), longest_seconds=longest)


@pytest.mark.parametrize("minutes", [0.2, 30, 3 * HOUR, 2 * DAY])
def test_a_late_reply_is_a_reply(minutes):
    said = []
    for _ in range(8):
        said += [them("hm?", after=5), me("yes", after=minutes)]
    assert tempo.describe(tempo.learn(chat(*said), UTC)).median_seconds == pytest.approx(minutes * 60, abs=0.1)


def test_the_delay_runs_from_the_last_of_what_the_contact_wrote():
    messages = chat(them("hey"), them("you there?", after=20), me("yes", after=2), me("what", after=1))
    assert [delay for hour in tempo.learn(messages, UTC).delays for delay in hour] == [120.0]


def test_hours_are_those_of_the_owners_clock():
    known = tempo.learn(every_day(1, hour=0), BERLIN)  # asked at 23:59 UTC
    assert [hour for hour, delays in enumerate(known.delays) if delays] == [0]


def test_an_hour_with_few_replies_borrows_from_its_neighbours_then_from_all_then_from_the_default():
    mornings, evenings = every_day(1, hour=9), every_day(60, hour=20)
    known = tempo.learn(sorted(mornings + evenings, key=lambda m: m.sent_at), UTC)
    assert set(known.delays_at(8)) == {60.0}
    assert set(known.delays_at(10)) == {60.0}
    assert set(known.delays_at(20)) == {3600.0}
    assert set(known.delays_at(2)) == {60.0, 3600.0}
    assert tempo.learn(mornings[:8], UTC).delays_at(8) == DEFAULT_DELAYS


def test_midnight_has_neighbours_on_both_sides():
    known = Tempo(UTC, tuple((7.0,) * 8 if hour == 23 else () for hour in range(24)))
    assert known.delays_at(0) == (7.0,) * 8


def test_what_the_twin_sent_teaches_nothing_and_answers_all_the_same():
    messages = chat(
        them("a"),
        me("b", source="twin"),
        me("c", after=1),
        them("d"),
        me("e", source="owner"),
        them("f"),
        me("g", via_bot=True),
        them("h"),
        me("i", unattended=True),
    )
    known = tempo.learn(messages, UTC)
    assert known.replies == 0
    assert known.gaps == ()


def test_gaps_are_within_one_thought_and_typing_is_measured_from_them():
    said = []
    for _ in range(10):
        said += [them("?", after=30), me("so"), me("x" * 30, after=0.1), me("and hours later", after=90)]
    known = tempo.learn(chat(*said), UTC)
    assert set(known.gaps) == {6.0}
    assert known.speed == 5.0
    habit = tempo.describe(known)
    assert (habit.replies, habit.gap_seconds, habit.characters_a_second) == (10, 6.0, 5.0)


@pytest.mark.parametrize(("length", "speed"), [(3, tempo.SLOWEST), (4000, tempo.FASTEST)])
def test_a_speed_that_nobody_types_at_is_clipped(length, speed):
    said = []
    for _ in range(10):
        said += [them("?"), me("so"), me("x" * length, after=0.5)]
    assert tempo.learn(chat(*said), UTC).speed == speed


def test_of_little_history_nothing_is_claimed():
    habit = tempo.describe(tempo.learn(chat(them("a"), me("b"), me("c")), UTC))
    assert habit.replies == 1
    assert (habit.median_seconds, habit.gap_seconds, habit.characters_a_second) == (None, None, None)
    assert set(habit.by_part_of_day.values()) == {None}
    assert tempo.learn([], UTC).speed == DEFAULT_SPEED


def test_a_plan_counts_the_delay_from_when_the_contact_wrote():
    known = tempo.learn(every_day(2, hour=10), UTC)
    found = plan(known, "hello")
    assert found.bubbles[0].not_before_at == ASKED + timedelta(minutes=2)
    assert found.bubbles[0].typing_at == found.bubbles[0].not_before_at - timedelta(seconds=1)
    assert timedelta(seconds=1) < found.bubbles[0].typing_at - found.read_at < timedelta(seconds=5)


def test_what_is_late_already_goes_at_once():
    known = tempo.learn(every_day(1, hour=10), UTC)
    found = plan(known, "hello", asked_at=NOW - timedelta(minutes=5))
    assert (found.read_at, found.bubbles[0].typing_at, found.bubbles[0].not_before_at) == (NOW, NOW, NOW)


@pytest.mark.parametrize("seed", range(40))
def test_no_plan_lies_in_the_past_or_further_ahead_than_allowed_and_bubbles_keep_their_order(seed):
    draw = random.Random(seed)
    known = tempo.learn(random_chat(seed, length=draw.choice([0, 40, 400])), BERLIN)
    bubbles = ["x" * draw.randint(1, 400) for _ in range(draw.randint(1, 6))]
    longest = draw.choice([0.0, 3.0, 900.0, 1e6])
    found = plan(known, *bubbles, seed=seed, longest=longest, asked_at=NOW - timedelta(seconds=draw.choice([0, 60, 1e6])))
    assert [timing.text for timing in found.bubbles] == bubbles
    instants = [NOW, found.read_at, *(at for timing in found.bubbles for at in (timing.typing_at, timing.not_before_at))]
    assert all(one <= other for one, other in pairwise(instants))
    assert instants[-1] <= NOW + timedelta(seconds=longest)


def test_the_same_chance_gives_the_same_plan_and_draws_follow_what_was_learned():
    said = []
    for i in range(200):
        minutes = [0.5, 1, 5, 60][i % 4]
        said += [them("?", after=DAY - minutes), me("yes", after=minutes)]
    known = tempo.learn(chat(*said), UTC)
    assert plan(known, "a", "b", seed=3) == plan(known, "a", "b", seed=3)
    drawn = sorted((plan(known, "a", seed=seed).bubbles[0].not_before_at - ASKED).total_seconds() for seed in range(400))
    assert [round(drawn[place]) for place in (50, 150, 250, 350)] == [30, 60, 300, 3600]


def test_instant_is_now():
    found = tempo.instant(NOW, ["a", "b"])
    assert {found.read_at, *(t.typing_at for t in found.bubbles), *(t.not_before_at for t in found.bubbles)} == {NOW}


def test_several_dialogs_together_have_all_their_samples():
    one, other = tempo.learn(every_day(1), UTC), tempo.learn(every_day(5), UTC)
    both = tempo.together([one, other], UTC)
    assert both.replies == 20
    assert tempo.describe(both).median_seconds == 180.0
    assert tempo.together([], UTC) == Tempo(UTC)
    typed = replace(one, speed=4.0, typed=30), replace(other, speed=8.0, typed=10)
    assert tempo.together(typed, UTC).speed == 5.0
