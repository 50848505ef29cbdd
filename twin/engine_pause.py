"""The engine gives its GPU to a training for a while: a row says so, and everybody acts on it.

Who trains keeps the row fresh; a row that is not kept fresh was left by a process that died, and counts as gone. So no crash
leaves the engine asleep: `twin serve` brings it back.
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

How = Literal["sleep", "stop"]


@dataclass(frozen=True)
class Pause:
    """`how`: the server sleeps, or `twin serve` stops it."""

    how: How
    beat_at: datetime

    def is_fresh(self, now: datetime) -> bool:
        return now - self.beat_at < STALE


async def keep(connection: AsyncConnection, how: How, now: datetime) -> None:
    """Begin a pause, or say that it goes on."""
    await facts.put(connection, PAUSE, {"how": how, "beat_at": now.isoformat()})


async def end(connection: AsyncConnection) -> None:
    await facts.forget(connection, PAUSE)


async def read(connection: AsyncConnection) -> Pause | None:
    """The pause that was begun and not ended, fresh or not."""
    row = await facts.get(connection, PAUSE)
    return Pause(row["how"], datetime.fromisoformat(row["beat_at"])) if row else None


async def is_paused(connection: AsyncConnection, now: datetime) -> bool:
    pause = await read(connection)
    return pause is not None and pause.is_fresh(now)
