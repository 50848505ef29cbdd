"""When nights are: a cron line read on the wall clock, and the timers that ask whether one is due.

On the wall clock 02:30 comes once a day. In the night that skips that hour it comes when the clock would have shown it; in the
night that has the hour twice, the first counts. So daylight saving neither skips nor doubles a night.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from tzlocal import reload_localzone

from twin.cron import named_days as named_days
from twin.cron import times_of
from twin.errors import SettingsError

LOOK_SECONDS = 60  # timers stand still while a laptop sleeps: the next look after waking finds the night
LONGEST_GAP = timedelta(hours=3)  # by which a wall clock jumps


class WallClock:
    """A cron line in one zone. Raises SettingsError on a line that is none, or that names no day there is."""

    def __init__(self, cron: str, zone: tzinfo) -> None:
        try:
            self._times = times_of(cron)
        except ValueError as exc:
            raise SettingsError(f"TWIN_SCHEDULE__NIGHTLY {exc}.", mend='Write for example "0 4 * * *".') from exc
        self._zone = zone

    def last(self, now: datetime, within: timedelta) -> datetime | None:
        """The newest night that has come, None if there was none `within` this time."""
        look = timedelta(hours=1)
        while True:  # a line of every minute must not be gone through from the start
            look = min(look * 4, within)
            come = [night for night in self._between(now - look, now) if now - look <= night <= now]
            if come or look >= within:
                return max(come, default=None)

    def next(self, now: datetime) -> datetime:
        """The first night that is still to come."""
        return next(night for night in self._from(now - LONGEST_GAP) if night > now)

    def _between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        for night in self._from(start - LONGEST_GAP):
            if night > end + LONGEST_GAP:
                return
            yield night

    def _from(self, start: datetime) -> Iterator[datetime]:
        wall = start.astimezone(self._zone).replace(tzinfo=UTC)
        while (fire := self._times.get_next_fire_time(None, wall)) is not None:
            yield fire.replace(tzinfo=self._zone, fold=0).astimezone(UTC)
            wall = fire + timedelta(minutes=1)


def local_zone() -> tzinfo:
    """This machine's zone, at most a minute old: a laptop travels. Raises SettingsError if TZ or the machine names none."""
    return _zone_at(int(time.monotonic() // 60))


@lru_cache(maxsize=1)
def _zone_at(_minute: int) -> tzinfo:
    try:
        zone: tzinfo = reload_localzone()
    except (LookupError, ValueError, OSError) as exc:
        where = f"TZ={os.environ['TZ']!r}" if os.environ.get("TZ") else "/etc/timezone or /etc/localtime"
        mend = "Set TZ=Europe/Berlin, say, without quotes: as the zones of `timedatectl list-timezones` are named. UTC+3 is Etc/GMT-3."
        raise SettingsError(f"{where} names no time zone that is known here.", mend=mend) from exc
    return zone


def start(look: Callable[[], Awaitable[None]], clock: Callable[[], WallClock], now: Callable[[], datetime]) -> AsyncIOScheduler:
    """Look at once, at every night and every minute. `look` decides what is due; it must return at once."""
    scheduler = AsyncIOScheduler(timezone=UTC)

    async def at_night() -> None:
        await look()
        set_alarm()

    def set_alarm() -> None:
        scheduler.add_job(at_night, DateTrigger(clock().next(now())), id="night", replace_existing=True, misfire_grace_time=None)

    every = IntervalTrigger(seconds=LOOK_SECONDS)
    scheduler.add_job(look, every, id="look", coalesce=True, max_instances=1, misfire_grace_time=None, next_run_time=now())
    set_alarm()
    scheduler.start()
    return scheduler
