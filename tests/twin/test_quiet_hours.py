"""Quiet hours on the owner's wall clock."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from twin.quiet_hours import ends_at, is_quiet
from twin.settings import Auto, Settings

BERLIN, KATHMANDU = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kathmandu")


def settings(hours: str | None) -> Settings:
    return Settings(_env_file=None, auto=Auto(quiet_hours=hours))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("hours", "at", "quiet"),
    [
        ("23:00-07:00", "22:59", False),
        ("23:00-07:00", "23:00", True),
        ("23:00-07:00", "00:00", True),
        ("23:00-07:00", "06:59", True),
        ("23:00-07:00", "07:00", False),
        ("13:00-14:30", "13:00", True),
        ("13:00-14:30", "14:30", False),
        ("13:00-14:30", "03:00", False),
        ("08:00-08:00", "08:00", False),
        (None, "03:00", False),
    ],
)
def test_it_is_quiet_from_the_begin_up_to_the_end(hours: str | None, at: str, quiet: bool) -> None:
    hour, minute = map(int, at.split(":"))
    assert is_quiet(settings(hours), datetime(2026, 11, 21, hour, minute, tzinfo=BERLIN)) is quiet


@pytest.mark.parametrize(
    ("zone", "now", "end"),
    [
        (UTC, "2026-11-21 23:30", "2026-11-22 07:00"),
        (UTC, "2026-11-22 01:00", "2026-11-22 07:00"),
        (BERLIN, "2026-11-21 22:30", "2026-11-22 06:00"),
        (KATHMANDU, "2026-11-21 20:00", "2026-11-22 01:15"),
        (BERLIN, "2026-03-28 23:00", "2026-03-29 05:00"),  # the night that skips an hour
        (BERLIN, "2026-10-24 23:00", "2026-10-25 06:00"),  # the one that has an hour twice
    ],
)
def test_they_end_at_the_wall_clocks_time(zone: ZoneInfo, now: str, end: str) -> None:
    found = ends_at(settings("23:00-07:00"), datetime.fromisoformat(f"{now}+00:00"), zone)
    assert found == datetime.fromisoformat(f"{end}+00:00")
    assert not is_quiet(settings("23:00-07:00"), found.astimezone(zone))


def test_outside_of_them_they_do_not_end() -> None:
    assert ends_at(settings("23:00-07:00"), datetime(2026, 11, 21, 12, tzinfo=UTC), UTC) is None
    assert ends_at(settings(None), datetime(2026, 11, 21, 3, tzinfo=UTC), UTC) is None


def test_an_end_in_the_doubled_hour_lies_ahead() -> None:
    """Berlin, 2026-10-25: 02:00 to 03:00 comes twice, from 00:00 UTC on."""
    for minutes in range(180):
        now = (
            datetime(2026, 10, 24, 23, minutes % 60, tzinfo=UTC)
            if minutes < 60
            else datetime(2026, 10, 25, minutes // 60 - 1, minutes % 60, tzinfo=UTC)
        )
        end = ends_at(settings("01:00-02:30"), now, BERLIN)
        assert end is None or end > now
