"""Retraining on demand and by night: one at a time, its outcome told to the owner in one line."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from bot.context import utc_now
from twin.errors import SettingsError, TwinError
from twin.store import notices
from twin.store.engine import Store

log = structlog.get_logger()
GRACE_SECONDS = 6 * 3600  # a night slept through is made up for in the morning
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")

Retrain = Callable[[bool], Awaitable[str]]  # (full) -> the outcome in one line; raises TwinError; cancelling it stops the run


class Retraining:
    """At most one run. `told` rings the owner's desk."""

    def __init__(self, retrain: Retrain, store: Store, told: Callable[[], None]) -> None:
        self._retrain = retrain
        self._store = store
        self._told = told
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    def start(self, *, full: bool) -> bool:
        """False if a run is going on already."""
        if self.is_running:
            return False
        self._task = asyncio.create_task(self._run(full))
        return True

    async def stop(self) -> bool:
        """Cancel the run and wait for its end; False if there is none."""
        if self._task is None or self._task.done():
            return False
        self._task.cancel()
        await asyncio.wait({self._task})
        return True

    async def nightly(self) -> None:
        """What the scheduler calls. It returns when the run has ended, so that the scheduler knows one is going on."""
        if self.start(full=False) and self._task:
            await asyncio.wait({self._task})

    async def _run(self, full: bool) -> None:
        log.info("retraining.started", full=full)
        try:
            line = await self._retrain(full)
        except TwinError as exc:
            line = f"Retraining failed: {exc}"
        except Exception as exc:  # noqa: BLE001 - foreign code in the background: its failure is a line for the owner, not the bot's end
            log.error("retraining.crashed", error=type(exc).__name__)
            line = f"Retraining failed ({type(exc).__name__}). The log says where."
        log.info("retraining.ended", full=full)
        async with self._store.begin() as connection:
            await notices.add(connection, line, utc_now())
        self._told()


def schedule(retraining: Retraining, cron: str) -> AsyncIOScheduler:
    """Start the nightly run's timer. Raises SettingsError on a bad cron line.

    The jobs live in memory with a fixed id: whether a night was missed is for the `runs` table to say, not for a timer.
    """
    try:
        trigger = CronTrigger.from_crontab(_named_days(cron))
    except ValueError as exc:
        raise SettingsError(f"TWIN_SCHEDULE__NIGHTLY is no cron line: {cron!r}.", mend='Write for example "0 4 * * *".') from exc
    scheduler = AsyncIOScheduler()
    scheduler.add_job(
        retraining.nightly,
        trigger,
        id="nightly",
        coalesce=True,
        misfire_grace_time=GRACE_SECONDS,
        max_instances=1,
        replace_existing=True,
    )
    scheduler.start()
    return scheduler


def _named_days(cron: str) -> str:
    """APScheduler counts days of the week from Monday, cron from Sunday: names mean the same to both."""
    fields = cron.split()
    if len(fields) == 5:
        fields[4] = re.sub(r"(?<![/\d])[0-7](?!\d)", lambda match: DAYS[int(match.group())], fields[4])
    return " ".join(fields)
