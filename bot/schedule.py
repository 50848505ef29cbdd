"""When nights are: a cron line read on the wall clock, and the timers that ask whether one is due.

On the wall clock 02:30 comes once a day. In the night that skips that hour it comes when the clock would have shown it; in the
night that has the hour twice, the first counts. So daylight saving neither skips nor doubles a night.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from twin.errors import SettingsError

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
LOOK_SECONDS = 60  # timers stand still while a laptop sleeps: the next look after waking finds the night


class WallClock:
    """A cron line in one zone. Raises SettingsError on a line that is none."""

    def __init__(self, cron: str, zone: tzinfo) -> None:
        try:
            self._trigger = CronTrigger.from_crontab(named_days(cron), timezone=UTC)  # UTC stands for the wall clock here
        except ValueError as exc:
            raise SettingsError(f"TWIN_SCHEDULE__NIGHTLY is no cron line: {cron!r}.", mend='Write for example "0 4 * * *".') from exc
        self._zone = zone

    def last(self, now: datetime, within: timedelta) -> datetime | None:
        """The newest night that has come, None if there was none `within` this time."""
        found = None
        for night in self._from(now - within - timedelta(hours=2)):
            if night > now:
                break
            found = night
        return found if found and now - found <= within else None

    def next(self, now: datetime) -> datetime:
        """The first night that is still to come."""
        return next(night for night in self._from(now - timedelta(hours=2)) if night > now)

    def _from(self, start: datetime) -> Iterator[datetime]:
        wall = start.astimezone(self._zone).replace(tzinfo=UTC)
        while (fire := self._trigger.get_next_fire_time(None, wall)) is not None:
            yield fire.replace(tzinfo=self._zone, fold=0).astimezone(UTC)
            wall = fire + timedelta(minutes=1)


def local_zone() -> tzinfo:
    from tzlocal import get_localzone

    return get_localzone()


def start(look: Callable[[], Awaitable[None]], clock: WallClock, now: Callable[[], datetime]) -> AsyncIOScheduler:
    """Look at once, at every night and every minute. `look` decides what is due; it must return at once."""
    scheduler = AsyncIOScheduler(timezone=UTC)

    async def at_night() -> None:
        await look()
        set_alarm()

    def set_alarm() -> None:
        scheduler.add_job(at_night, DateTrigger(clock.next(now())), id="night", replace_existing=True, misfire_grace_time=None)

    every = IntervalTrigger(seconds=LOOK_SECONDS)
    scheduler.add_job(look, every, id="look", coalesce=True, max_instances=1, misfire_grace_time=None, next_run_time=now())
    set_alarm()
    scheduler.start()
    return scheduler


def named_days(cron: str) -> str:
    """APScheduler counts days of the week from Monday, cron from Sunday: names mean the same to both."""
    fields = cron.split()
    if len(fields) == 5:
        fields[4] = re.sub(r"(?<![/\d])[0-7](?!\d)", lambda match: DAYS[int(match.group())], fields[4])
    return " ".join(fields)
