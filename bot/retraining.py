"""Retraining on demand and by night: one at a time; whether a night is due is read from the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from bot.context import utc_now
from bot.schedule import WallClock
from twin import nights
from twin.errors import TwinError
from twin.settings import Settings
from twin.store import facts, notices, runs
from twin.store.engine import Store

log = structlog.get_logger()
SINCE = "first started"  # the fact that tells since when nights count


@dataclass(frozen=True)
class Night:
    """What is asked of a run. `at` is the instant that the schedule named, None for one that the owner wanted."""

    full: bool = False
    trigger: str = "owner"
    at: datetime | None = None


Retrain = Callable[[Night], Awaitable[str]]  # -> the outcome in one line; raises TwinError; cancelling it stops the run


class Retraining:
    """At most one run. `told` rings the owner's desk, `started` whoever follows a run."""

    def __init__(self, retrain: Retrain, store: Store, told: Callable[[], None], started: Callable[[], None] = lambda: None) -> None:
        self._retrain = retrain
        self._store = store
        self._told = told
        self._started = started
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    def start(self, night: Night) -> bool:
        """False if a run of ours is going on already."""
        if self.is_running:
            return False
        self._task = asyncio.create_task(self._run(night))
        return True

    async def stop(self) -> bool:
        """Cancel the run and wait for its end; False if there is none."""
        if self._task is None or self._task.done():
            return False
        self._task.cancel()
        await asyncio.wait({self._task})
        return True

    async def look(self, clock: WallClock, settings: Settings) -> None:
        """Start the night that is due, if one is. What the timers call; a second look, or a second process, changes nothing."""
        if self.is_running:
            return
        now = utc_now()
        catch_up = timedelta(hours=settings.schedule.catch_up_hours)
        night_at = clock.last(now, catch_up)
        async with self._store.begin() as connection:
            since = await facts.get(connection, SINCE)
            if since is None:
                since = now.isoformat()
                await facts.put(connection, SINCE, since)
            attempts = await runs.of_night(connection, night_at) if night_at else []
            newest = await runs.newest(connection)
        decision = nights.decide(night_at, attempts, newest, now=now, since=datetime.fromisoformat(since), catch_up=catch_up)
        if decision.what != "nothing":
            log.info("night.due", night_at=str(decision.night_at), what=decision.what)
            self.start(Night(trigger="schedule", at=decision.night_at))

    async def _run(self, night: Night) -> None:
        log.info("retraining.started", full=night.full, trigger=night.trigger)
        began_at = utc_now()
        self._started()
        try:
            line = await self._retrain(night)
        except TwinError as exc:
            line = f"Retraining failed: {exc}"
        except Exception as exc:  # noqa: BLE001 - foreign code in the background: its failure is a line for the owner, not the bot's end
            log.error("retraining.crashed", error=type(exc).__name__)
            line = f"Retraining failed ({type(exc).__name__}). The log says where."
        log.info("retraining.ended", full=night.full, trigger=night.trigger)
        async with self._store.begin() as connection:
            newest = await runs.newest(connection, "nightly")
            if newest is None or newest.started_at < began_at:  # else its own message tells how it ended
                await notices.add(connection, line, utc_now())
        self._told()
        self._started()
