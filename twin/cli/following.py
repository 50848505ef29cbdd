"""A running engine follows the store's pointer to the active adapter, whoever moves it: a night, a tap, another terminal."""

from __future__ import annotations

import asyncio

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from twin.cli.folder import utc_now
from twin.errors import EngineError, ModelError
from twin.generator import ActiveAdapter, Generator
from twin.store import adapters, notices
from twin.store.adapters import Adapter

log = structlog.get_logger()
LOOK_SECONDS = 3.0


class Follower:
    """Keeps one engine on the active adapter."""

    def __init__(self, store: AsyncEngine, generator: Generator) -> None:
        self._store = store
        self._generator = generator
        self._used: str | None = None  # None: the base model, which every engine begins with
        self._refused: str | None = None  # an adapter that cannot be used; not tried again until the pointer moves

    async def follow(self) -> Adapter | None:
        """Use what is active now. Raises EngineError or ModelError; what answered before goes on answering then."""
        async with self._store.connect() as connection:
            active = await adapters.active(connection)
        name = active.name if active else None
        if name != self._used:
            try:
                await self._generator.use(ActiveAdapter(active.name, active.path) if active else None)
            except ModelError:
                self._refused = name
                raise
            self._used = name
            log.info("adapter.switched", adapter=name)
        self._refused = None
        return active

    async def keep_following(self) -> None:
        """For ever. An adapter that cannot be used is told to the owner once."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            async with self._store.connect() as connection:
                active = await adapters.active(connection)
            name = active.name if active else None
            if name == self._used or (name is not None and name == self._refused):
                continue
            try:
                await self.follow()
            except EngineError as exc:
                log.warning("adapter.not_switched", adapter=name, kind=exc.kind)  # the engine is away; the next look tries again
            except ModelError as exc:
                log.error("adapter.refused", adapter=name)
                async with self._store.begin() as connection:
                    await notices.add(connection, str(exc), utc_now())
