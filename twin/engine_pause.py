"""The engine gives its GPU to a training for a while: a row says so, and everybody acts on it.

Who trains keeps the row fresh; a row that is not kept fresh was left by a process that died, and counts as gone. So no crash
leaves the engine asleep: `twin serve` brings it back, and `twin run` wakes it where they do not share a data folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store import facts

PAUSE = "engine pause"
SERVER = "engine server"  # what `twin serve` says of the server that it owns: {"state": "stopped" | "running"}
STALE = timedelta(seconds=45)
BEAT_SECONDS = 5.0

How = Literal["sleep", "stop", "back"]


@dataclass(frozen=True)
class Pause:
    """`how`: the server sleeps, `twin serve` stops it, or the card is free again and the server on its way back."""

    how: How
    beat_at: datetime

    def is_fresh(self, now: datetime) -> bool:
        return now - self.beat_at < STALE

    def has_card(self, now: datetime) -> bool:
        """Whether the training may be using the GPU, so that no server may."""
        return self.how != "back" and self.is_fresh(now)


async def keep(connection: AsyncConnection, how: How, now: datetime) -> None:
    """Begin a pause, or say that it goes on."""
    await facts.put(connection, PAUSE, {"how": how, "beat_at": now.isoformat()})


async def end(connection: AsyncConnection) -> None:
    await facts.forget(connection, PAUSE)


async def end_stale(connection: AsyncConnection, now: datetime) -> None:
    """End a pause whose process has died; another one, begun meanwhile, stays."""
    pause = await read(connection)
    if pause and not pause.is_fresh(now):
        await end(connection)


async def read(connection: AsyncConnection) -> Pause | None:
    """The pause that was begun and not ended, fresh or not."""
    row = await facts.get(connection, PAUSE)
    return Pause(row["how"], datetime.fromisoformat(row["beat_at"])) if row else None


async def is_paused(connection: AsyncConnection, now: datetime) -> bool:
    """Whether the engine does not answer because of a training: no outage, and soon over."""
    pause = await read(connection)
    return pause is not None and pause.is_fresh(now)
