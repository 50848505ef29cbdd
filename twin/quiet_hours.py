"""Quiet hours: nothing goes by itself, and cards come without sound. Read on the owner's wall clock; they may go over midnight."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, tzinfo

from twin.settings import Settings


def is_quiet(settings: Settings, at_local: datetime) -> bool:
    """Whether this moment of the owner's wall clock is in the quiet hours. The end is not; equal ends mean never."""
    hours = _hours(settings)
    if hours is None:
        return False
    begin, end = hours
    at = at_local.time()
    return begin <= at < end if begin < end else at >= begin or at < end


def ends_at(settings: Settings, now: datetime, zone: tzinfo) -> datetime | None:
    """When the quiet hours that it is now are over, in UTC; None if it is not quiet."""
    local = now.astimezone(zone)
    hours = _hours(settings)
    if hours is None or not is_quiet(settings, local):
        return None
    day = local.date() if local.time() < hours[1] else local.date() + timedelta(days=1)
    end = datetime.combine(day, hours[1], zone).astimezone(UTC)
    # In the night that has an hour twice, the end's first coming may be over already.
    return end if end > now else datetime.combine(day, hours[1], zone).replace(fold=1).astimezone(UTC)


def _hours(settings: Settings) -> tuple[time, time] | None:
    if not settings.auto.quiet_hours:
        return None
    begin, end = (time.fromisoformat(part) for part in settings.auto.quiet_hours.split("-"))
    return (begin, end) if begin != end else None
