"""Nights on the wall clock: what cron means, and what summer time does not change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from bot.schedule import WallClock, named_days
from twin.errors import SettingsError

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
CATCH_UP = timedelta(hours=20)


def nights(cron: str, zone: ZoneInfo, start: datetime, days: int) -> list[datetime]:
    """Every night that a clock which looks each minute would find due, in UTC."""
    clock, found = WallClock(cron, zone), []
    now = start
    while now < start + timedelta(days=days):
        night = clock.last(now, CATCH_UP)
        if night and night not in found and night >= start:
            assert now - night < timedelta(minutes=1)
            found.append(night)
        now += timedelta(minutes=1)
    return found


@pytest.mark.parametrize(
    ("zone", "start", "wanted"),
    [
        # Berlin 2026-03-29: 02:00 becomes 03:00; 2026-10-25: 03:00 becomes 02:00
        (BERLIN, datetime(2026, 3, 27, 12, tzinfo=UTC), ["28 01:30", "29 01:30", "30 00:30"]),
        (BERLIN, datetime(2026, 10, 23, 12, tzinfo=UTC), ["24 00:30", "25 00:30", "26 01:30"]),
        # New York 2026-03-08 and 2026-11-01
        (NEW_YORK, datetime(2026, 3, 6, 12, tzinfo=UTC), ["07 07:30", "08 07:30", "09 06:30"]),
        (NEW_YORK, datetime(2026, 10, 30, 12, tzinfo=UTC), ["31 06:30", "01 07:30", "02 07:30"]),
    ],
)
def test_half_past_two_comes_once_a_day_also_when_the_clock_skips_or_doubles_it(zone, start, wanted):
    found = nights("30 2 * * *", zone, start, 3)
    assert [f"{night:%d %H:%M}" for night in found] == wanted


def test_an_hour_that_new_york_has_twice_counts_once():
    found = nights("30 1 * * *", NEW_YORK, datetime(2026, 10, 30, 12, tzinfo=UTC), 3)
    assert [f"{night:%d %H:%M}" for night in found] == ["31 05:30", "01 05:30", "02 06:30"]


def test_four_o_clock_is_four_o_clock_in_winter_and_in_summer():
    found = nights("0 4 * * *", BERLIN, datetime(2026, 3, 27, 12, tzinfo=UTC), 4)
    assert {night.astimezone(BERLIN).strftime("%H:%M") for night in found} == {"04:00"}
    assert len(found) == 4


def test_an_hour_line_runs_each_hour_of_a_plain_day():
    assert len(nights("0 * * * *", BERLIN, datetime(2026, 6, 1, tzinfo=UTC), 1)) == 24


@pytest.mark.parametrize(
    ("zone", "start"),
    [(BERLIN, datetime(2026, 3, 28, 22, tzinfo=UTC)), (NEW_YORK, datetime(2026, 3, 8, 5, tzinfo=UTC))],
)
def test_each_hour_of_a_night_that_skips_one_comes_once(zone, start):
    found = nights("15 * * * *", zone, start, 0.4)
    assert [night - found[0] for night in found] == [timedelta(hours=i) for i in range(len(found))]
    assert len(found) == 10


@pytest.mark.parametrize(
    ("zone", "start"),
    [(BERLIN, datetime(2026, 10, 24, 22, tzinfo=UTC)), (NEW_YORK, datetime(2026, 11, 1, 4, tzinfo=UTC))],
)
def test_each_hour_that_the_clock_shows_comes_once_also_when_it_shows_one_twice(zone, start):
    found = nights("15 * * * *", zone, start, 0.4)
    shown = [night.astimezone(zone).strftime("%H") for night in found]
    assert shown == sorted(set(shown))
    assert len(shown) == 9


def test_a_line_of_every_minute_is_found_without_going_through_the_night():
    clock = WallClock("* * * * *", BERLIN)
    now = datetime(2026, 6, 1, 2, 0, 30, tzinfo=UTC)
    assert clock.last(now, timedelta(hours=9999)) == now.replace(second=0)
    assert clock.next(now) == now.replace(minute=1, second=0)


def test_a_line_of_once_a_year_is_found_after_months():
    clock = WallClock("0 4 1 1 *", BERLIN)
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assert clock.last(now, timedelta(hours=9999)) == datetime(2026, 1, 1, 3, tzinfo=UTC)
    assert clock.next(now) == datetime(2027, 1, 1, 3, tzinfo=UTC)


def test_the_next_night_is_after_now_and_the_last_before_it():
    clock = WallClock("0 4 * * *", BERLIN)
    now = datetime(2026, 6, 1, 2, 0, tzinfo=UTC)  # exactly 04:00 there
    assert clock.last(now, CATCH_UP) == now
    assert clock.next(now) == now + timedelta(days=1)
    assert clock.last(now - timedelta(seconds=1), timedelta(hours=1)) is None


@pytest.mark.parametrize("line", ["at four", "0 4 * *", "0 4 30 2 *"])
def test_a_bad_line_is_named(line):
    with pytest.raises(SettingsError, match="TWIN_SCHEDULE__NIGHTLY"):
        WallClock(line, BERLIN)


def test_days_of_the_week_are_crons():
    assert named_days("0 4 * * 0") == "0 4 * * sun"
    assert named_days("0 4 * * 1-5") == "0 4 * * mon,tue,wed,thu,fri"
    assert named_days("*/10 4 * * */2") == "*/10 4 * * sun,tue,thu,sat"


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("*", "mon tue wed thu fri sat sun"),
        ("0-6", "mon tue wed thu fri sat sun"),
        ("1-7", "mon tue wed thu fri sat sun"),
        ("0", "sun"),
        ("7", "sun"),
        ("1", "mon"),
        ("*/2", "tue thu sat sun"),  # Sunday is 0
        ("1-5", "mon tue wed thu fri"),
        ("1-5/2", "mon wed fri"),
        ("5-7", "fri sat sun"),
        ("sat,sun", "sat sun"),
        ("Fri-Sun", "fri sat sun"),
        ("0,3", "wed sun"),
    ],
)
def test_days_of_the_week_are_those_of_crontab(field: str, days: str) -> None:
    clock, now = WallClock(f"0 4 * * {field}", UTC), datetime(2026, 11, 2, 0, tzinfo=UTC)  # a Monday
    found = set()
    for _ in range(8):
        now = clock.next(now)
        if now < datetime(2026, 11, 9, tzinfo=UTC):
            found.add(now.strftime("%a").lower())
    assert found == set(days.split())


@pytest.mark.parametrize("field", ["8", "6-2", "*/0", "x", "1-", "-1", "1//2", ""])
def test_days_that_are_none_are_refused(field: str) -> None:
    with pytest.raises(SettingsError, match="no cron line"):
        WallClock(f"0 4 * * {field}", UTC)


@pytest.mark.parametrize(
    ("days", "wanted"),
    [
        ("13 * 5", {6, 13, 20, 27}),  # 2026-11-13 is a Friday; so are 6, 20 and 27
        ("10 * 5", {6, 10, 13, 20, 27}),
        ("10 * *", {10}),
        ("*/10 * 2", {3, 10, 17, 24} & {1, 11, 21, 31}),  # a field that begins with a star names nothing: both must hold
    ],
)
def test_a_day_of_the_month_or_a_day_of_the_week_will_do(days: str, wanted: set[int]) -> None:
    clock, now = WallClock(f"0 4 {days}", UTC), datetime(2026, 11, 1, tzinfo=UTC)
    found = set()
    while (now := clock.next(now)) < datetime(2026, 12, 1, tzinfo=UTC):
        found.add(now.day)
    assert found == wanted
