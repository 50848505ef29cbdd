"""The one reader of cron lines: for the settings, which refuse a wrong one, for `twin doctor`, and for the scheduler.

As in crontab(5): 0 and 7 are Sunday, steps count from Sunday, and where both the day of the month and the day of the week are named,
either will do.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Times(Protocol):
    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None: ...


class Either:
    """When one of them comes."""

    def __init__(self, *times: Times) -> None:
        self._times = times

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        found = [times.get_next_fire_time(previous, now) for times in self._times]
        return min((at for at in found if at is not None), default=None)


def times_of(cron: str) -> Times:
    """When the line comes, on a clock that UTC stands for. Raises ValueError if it is no cron line, or names no day there is."""
    from apscheduler.triggers.cron import CronTrigger  # 0.1 s, and most commands read no line

    try:
        fields = named_days(cron).split()
        lines = [fields]
        if len(fields) == 5 and not any(day.startswith("*") for day in (fields[2], cron.split()[4])):
            lines = [[*fields[:4], "*"], [*fields[:2], "*", *fields[3:]]]
        found = Either(*(CronTrigger.from_crontab(" ".join(line), timezone=UTC) for line in lines))
        first = found.get_next_fire_time(None, datetime.now(UTC))
    except ValueError as exc:
        raise ValueError(f"is no cron line: {cron!r}") from exc
    if first is None:
        raise ValueError(f"never comes: {cron!r}")
    return found


def named_days(cron: str) -> str:
    """The line with its days of the week by name: APScheduler counts them from Monday, crontab(5) from Sunday, and its steps with
    them. Raises ValueError."""
    fields = cron.split()
    if len(fields) == 5:
        days = sorted({day % 7 for item in fields[4].split(",") for day in _days(item)})
        fields[4] = "*" if len(days) == 7 else ",".join(DAYS[day] for day in days)
    return " ".join(fields)


def _days(item: str) -> range:
    """What one item of the list means: "*", "*/2", "1-5", "1-5/2", "fri", "fri-sun", "7". 0 and 7 are Sunday."""
    span, slash, step = item.partition("/")
    begin, dash, end = span.partition("-")
    first, last = (0, 6) if span == "*" else (_day(begin), _day(end) if dash else 6 if slash else _day(begin))
    if dash and end.lower() == "sun":
        last = 7
    if last < first or (slash and not (step.isdecimal() and int(step))):
        raise ValueError(f"no days of the week: {item}")
    return range(first, last + 1, int(step or 1))


def _day(given: str) -> int:
    if given.isdecimal() and int(given) <= 7:
        return int(given)
    return DAYS.index(given.lower())
