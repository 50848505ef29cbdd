"""A running engine follows the store's pointer to the active adapter, whoever moves it: a night, a tap, another terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from twin import engine_pause
from twin.cli.folder import utc_now
from twin.engine_pause import Pause
from twin.errors import EngineError, ModelError
from twin.generator import ActiveAdapter, Generator
from twin.store import adapters, notices
from twin.store.adapters import Adapter
from twin.store.engine import Store

log = structlog.get_logger()
LOOK_SECONDS = 1.0
CHECK_LOOKS = 5  # every so many looks the engine is asked whether it still has the adapter: it may have been restarted


class Follower:
    """Keeps one engine on the active adapter. `wake`: how to end its sleep, if it can sleep; raises EngineError."""

    def __init__(self, store: Store, generator: Generator, *, wake: Callable[[], None] | None = None) -> None:
        self._store = store
        self._generator = generator
        self._wake = wake
        self._used: str | None = None  # None: the base model, which every engine begins with
        self.refused: str | None = None  # an adapter that cannot be used; not tried again until the pointer moves
        self._is_away = False
        self._following = asyncio.Lock()

    async def follow(self) -> Adapter | None:
        """Use what is active now. Raises EngineError or ModelError; what answered before goes on answering then."""
        async with self._following:
            active, pause = await self._look()
            if pause and pause.is_fresh(utc_now()):
                raise EngineError("A training has the engine's GPU.", kind="paused", mend="It answers again after that.")
            name = active.name if active else None
            try:
                await self._generator.use(ActiveAdapter(active.name, active.path) if active else None)
            except ModelError:
                self.refused = name
                raise
            if name != self._used:
                self._used = name
                log.info("adapter.switched", adapter=name)
            self.refused = None
            return active

    async def keep_following(self) -> None:
        """For ever. An adapter that cannot be used is told to the owner once."""
        looks = 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            looks += 1
            active, pause = await self._look()
            if pause and not pause.is_fresh(utc_now()):
                await self._end_left(pause)
            name = active.name if active else None
            is_settled = name == self._used and not self._is_away and looks % CHECK_LOOKS != 0
            if is_settled or (name is not None and name == self.refused):
                continue
            try:
                await self.follow()
            except EngineError as exc:  # the next look tries again
                if exc.kind != "paused" and not self._is_away:
                    self._is_away = True
                    log.warning("adapter.not_followed", adapter=name, kind=exc.kind)
            except ModelError as exc:
                log.error("adapter.refused", adapter=name)
                async with self._store.begin() as connection:
                    await notices.add(connection, str(exc), utc_now())
            else:
                self._is_away = False

    async def _look(self) -> tuple[Adapter | None, Pause | None]:
        async with self._store.connect() as connection:
            return await adapters.active(connection), await engine_pause.read(connection)

    async def _end_left(self, pause: Pause) -> None:
        """Whoever paused the engine has died. `twin serve` sees that too, unless it runs on another machine."""
        try:
            if pause.how == "sleep" and self._wake:
                await asyncio.to_thread(self._wake)
                log.warning("engine.woken_after_a_crash")
        except EngineError as exc:
            log.warning("engine.not_woken", kind=exc.kind)
            return
        async with self._store.begin() as connection:
            await engine_pause.end_stale(connection, utc_now())
