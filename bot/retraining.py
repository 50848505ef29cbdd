"""Retraining on demand and by night: one at a time; what is due is read from the store, so no kill loses or doubles a night."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Literal

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.context import utc_now
from bot.schedule import WallClock, local_zone
from twin import nights
from twin.errors import TwinError
from twin.nights import Night
from twin.settings import Settings
from twin.store import facts, runs
from twin.store.engine import Store

log = structlog.get_logger()
SINCE = "nights since"  # a fact: from when on nights of which cron line count
ORDER = "night ordered"  # a fact: the night that the owner asked for, until it is over

Retrain = Callable[[Night], Awaitable[str]]  # -> the outcome in one line; raises TwinError; cancelling it stops the run
IsTraining = Callable[[], bool]
Stopped = Literal["stopped", "asked", "nothing"]


class Retraining:
    """At most one run. `is_training` says whether any process holds the training lock; `ring` wakes who tells the owner."""

    def __init__(self, retrain: Retrain, store: Store, settings: Settings, *, is_training: IsTraining, ring: Callable[[], None]) -> None:
        self._retrain = retrain
        self._store = store
        self._settings = settings
        self._is_training = is_training
        self._ring = ring
        self._looking = asyncio.Lock()  # the alarm, the look of every minute and a command may come together
        self._task: asyncio.Task[None] | None = None
        self._stopped = False  # by the owner's word, not with the program
        self.clock()  # a wrong line is said at the start

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    def clock(self) -> WallClock:
        return WallClock(self._settings.schedule.nightly, local_zone())

    async def order(self, *, full: bool) -> bool:
        """What the owner asks for is played now; False if a training is going on, here or in a terminal."""
        async with self._looking:
            if self.is_running or self._is_training():
                return False
            async with self._store.begin() as connection:
                await facts.put(connection, ORDER, {"at": utc_now().isoformat(), "full": full})
        await self.look()
        return True

    async def stop(self) -> Stopped:
        """End what goes on, and do not begin it again. Another process is asked to end, and does within seconds."""
        async with self._looking:
            async with self._store.begin() as connection:
                await facts.forget(connection, ORDER)
                asked = await runs.ask_to_stop(connection, utc_now())
            self._stopped = True
            if await self._cancel():
                if asked and not self._is_training():
                    async with self._store.begin() as connection:
                        await runs.bury(connection, asked.run_id)  # if it had to be killed
                self._ring()
                return "stopped"
        return "asked" if asked and self._is_training() else "nothing"

    async def close(self) -> None:
        """End with the program: the next one picks it up."""
        await self._cancel()

    async def look(self) -> None:
        """Start what is due. What the timers call; a second look, or a second process, changes nothing."""
        async with self._looking:
            if self.is_running:
                return
            night = await self._due(utc_now())
            if night:
                self._stopped = False
                self._task = asyncio.create_task(self._run(night), name="retraining")

    async def _due(self, now: datetime) -> Night | None:
        is_training = self._is_training()
        async with self._store.begin() as connection:
            known = await runs.recent(connection)
            dead = [run for run in known if run.state == "running" and not nights.lives(run, now)]
            if dead and not is_training:
                for run in dead:
                    log.warning("run.was_killed", run_id=run.run_id, stage=run.stage)
                    await runs.bury(connection, run.run_id)
                self._ring()
                known = await runs.recent(connection)
            for night in (await self._ordered(connection), await self._scheduled(connection, now)):
                if night is None:
                    continue
                attempts = await runs.of_night(connection, night.at)
                rows = [*attempts, *(run for run in known if run not in attempts)]
                decision = nights.decide(night, rows, now=now, is_training=is_training)
                too_late = now - night.at > timedelta(hours=self._settings.schedule.catch_up_hours)
                if night.trigger == "owner" and (decision.what == "over" or too_late):
                    await facts.forget(connection, ORDER)
                elif decision.what in ("start", "again"):
                    log.info("night.due", night_at=night.at.isoformat(), trigger=night.trigger, what=decision.what)
                    return night
        return None

    async def _ordered(self, connection: AsyncConnection) -> Night | None:
        order = await facts.get(connection, ORDER)
        return Night(datetime.fromisoformat(order["at"]), "owner", bool(order["full"])) if order else None

    async def _scheduled(self, connection: AsyncConnection, now: datetime) -> Night | None:
        """The newest night that has come. What a cron line named before it was set, or before the first start, is not made up for."""
        line = self._settings.schedule.nightly
        since = await facts.get(connection, SINCE)
        if since is None or since["line"] != line:
            since = {"line": line, "at": now.isoformat()}
            await facts.put(connection, SINCE, since)
        at = self.clock().last(now, timedelta(hours=self._settings.schedule.catch_up_hours))
        return Night(at, "schedule") if at and at > datetime.fromisoformat(since["at"]) else None

    async def _cancel(self) -> bool:
        if self._task is None or self._task.done():
            return False
        self._task.cancel()
        await asyncio.wait({self._task})
        return True

    async def _run(self, night: Night) -> None:
        log.info("retraining.started", full=night.full, trigger=night.trigger)
        async with self._store.connect() as connection:
            before = len(await runs.of_night(connection, night.at))
        self._ring()
        try:
            line = await self._retrain(night)
            await self._keep(night, before, "done", detail={"line": line})
        except asyncio.CancelledError:
            await self._keep(night, before, "cancelled")
            raise
        except TwinError as exc:
            await self._keep(night, before, "failed", error=str(exc), detail={"failure": type(exc).__name__})
        except Exception as exc:  # noqa: BLE001 - foreign code in the background: its failure is a line for the owner, not the bot's end
            log.error("retraining.crashed", error=type(exc).__name__)
            error = f"{type(exc).__name__}. The log says where."
            await self._keep(night, before, "failed", error=error, detail={"failure": type(exc).__name__})
        log.info("retraining.ended", full=night.full, trigger=night.trigger)
        self._ring()

    async def _keep(
        self, night: Night, before: int, state: runs.Ended, *, error: str | None = None, detail: dict[str, str] | None = None
    ) -> None:
        """A run keeps its own row. One that ended before it had one must count as an attempt all the same, and be told of."""
        now = utc_now()
        async with self._store.begin() as connection:
            if len(await runs.of_night(connection, night.at)) > before or (state == "failed" and self._is_training()):
                return  # the latter: somebody else was quicker by a second, it waits for him
            run_id = f"{now:%Y%m%d-%H%M%S}-{token_hex(3)}"
            await runs.add_ended(connection, run_id, state, now, trigger=night.trigger, night_at=night.at, error=error, detail=detail or {})
            if self._stopped:
                await runs.mark_stopped(connection, run_id, now)
