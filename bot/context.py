"""What the bot's tasks and handlers share: settings, store, engine, and the bells by which they wake each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from twin.generator import Generator
from twin.settings import Settings
from twin.store.engine import Store

if TYPE_CHECKING:
    from bot.retraining import Retraining

T = TypeVar("T")
LAST_SECONDS = 1.2  # what a request in flight is given when the bot is stopped
Rollback = Callable[[], Awaitable[str]]  # goes back to the adapter before; its outcome in one line; raises TwinError
LiveState = Literal["connected", "being connected", "signed out"]
Promote = Callable[[str], Awaitable[str]]  # makes the adapter of this name the active one, or raises TwinError


@dataclass(frozen=True)
class Bells:
    """Each tells one task that there may be work in the store. A bell is never the work: what is due is read from there."""

    inbox: asyncio.Event = field(default_factory=asyncio.Event)
    due: asyncio.Event = field(default_factory=asyncio.Event)
    outbox: asyncio.Event = field(default_factory=asyncio.Event)
    desk: asyncio.Event = field(default_factory=asyncio.Event)
    nights: asyncio.Event = field(default_factory=asyncio.Event)

    def ring(self) -> None:
        """Wake everything that may follow from a decision."""
        for bell in (self.due, self.outbox, self.desk):
            bell.set()


@dataclass(frozen=True)
class Twin:
    """Handed to every task, and to every handler as `twin`."""

    settings: Settings
    store: Store
    generator: Generator
    retraining: Retraining
    rollback: Rollback
    promote: Promote
    owner_id: int
    bells: Bells = field(default_factory=Bells)
    live_state: Callable[[], LiveState | None] = lambda: None  # of the live session; None: there is none


def utc_now() -> datetime:
    return datetime.now(UTC)


async def heard(bell: asyncio.Event, seconds: float | None) -> None:
    """Wait for the bell, at most this long."""
    try:
        async with asyncio.timeout(seconds):
            await bell.wait()
    except TimeoutError:
        pass


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Run it; when the bot is stopped let it end first, for a while: a request cut off in flight has an unknown outcome."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        _, running = await asyncio.wait({task}, timeout=LAST_SECONDS)
        if running:
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen, so that nobody complains about it later; the outcome is in the store
        raise
