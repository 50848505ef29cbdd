"""Runs: what was attempted, how far it is, how it ended. One running row has a living process behind it, or is a leftover."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Select, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.errors import InputError
from twin.store.tables import runs

Ended = Literal["done", "failed", "cancelled"]
INTERRUPTED = "It was interrupted."


@dataclass(frozen=True)
class Run:
    """`progress` is {"stage", "done", "total", "note", "stages": [{"name", "seconds"}]}. `detail` says of one that ended what came
    of it ("outcome", "line", "adapter", ...), or in which way it failed ("failure": the error's name, "wait_seconds").
    `night_at` names the attempts at one night: the instant of the schedule, or of the owner's word."""

    run_id: str
    kind: str  # nightly | train
    state: str  # running | done | failed | cancelled
    stage: str
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None
    detail: dict[str, Any]
    error: str | None
    trigger: str  # schedule | owner | terminal
    night_at: datetime | None
    progress: dict[str, Any]
    message_id: int | None
    told: str  # "" | live | card (its answers are still to be shown) | ended
    stop_asked_at: datetime | None


COLUMNS = tuple(getattr(runs.c, name) for name in Run.__dataclass_fields__)


async def begin(
    connection: AsyncConnection, run_id: str, kind: str, at: datetime, *, trigger: str = "terminal", night_at: datetime | None = None
) -> None:
    """Start a run. Call it holding the training lock: whatever still says `running` was interrupted then.

    Raises InputError if that night is done already: somebody else was quicker.
    """
    if night_at and any(run.state == "done" for run in await of_night(connection, night_at)):
        raise InputError("This night is done already.", mend="`twin nightly` runs one whenever you like.")
    await connection.execute(
        update(runs).where(runs.c.state == "running").values(state="failed", ended_at=runs.c.heartbeat_at, error=INTERRUPTED)
    )
    values = {"run_id": run_id, "kind": kind, "state": "running", "started_at": at, "heartbeat_at": at}
    await connection.execute(runs.insert().values(**values, trigger=trigger, night_at=night_at))


async def beat(connection: AsyncConnection, run_id: str, stage: str, at: datetime, progress: dict[str, Any] | None = None) -> None:
    await connection.execute(
        update(runs).where(runs.c.run_id == run_id).values(stage=stage, heartbeat_at=at, **({"progress": progress} if progress else {}))
    )


async def end(
    connection: AsyncConnection, run_id: str, state: Ended, at: datetime, *, detail: dict[str, Any] | None = None, error: str | None = None
) -> None:
    await connection.execute(
        update(runs).where(runs.c.run_id == run_id).values(state=state, ended_at=at, heartbeat_at=at, detail=detail or {}, error=error)
    )


async def ask_to_stop(connection: AsyncConnection, at: datetime) -> Run | None:
    """Ask the run that goes on to end, whoever started it; its process looks for it. None if none goes on."""
    run = next((run for run in await recent(connection) if run.state == "running"), None)
    if run:
        await mark_stopped(connection, run.run_id, at)
    return run


async def mark_stopped(connection: AsyncConnection, run_id: str, at: datetime) -> None:
    """Somebody wants it over: its night is not tried again."""
    await connection.execute(update(runs).where(runs.c.run_id == run_id).values(stop_asked_at=at))


async def is_asked_to_stop(connection: AsyncConnection, run_id: str, by: datetime) -> bool:
    """Whether somebody has asked for it by then."""
    query = select(runs.c.run_id).where(runs.c.run_id == run_id, runs.c.stop_asked_at <= by)
    return (await connection.execute(query)).scalar_one_or_none() is not None


async def bury(connection: AsyncConnection, run_id: str) -> None:
    """Say of a run whose process is gone that it is over."""
    dead = (runs.c.run_id == run_id) & (runs.c.state == "running")
    await connection.execute(update(runs).where(dead).values(state="failed", ended_at=runs.c.heartbeat_at, error=INTERRUPTED))


async def add_ended(
    connection: AsyncConnection,
    run_id: str,
    state: Ended,
    at: datetime,
    *,
    trigger: str,
    night_at: datetime,
    error: str | None = None,
    detail: dict[str, Any],
) -> None:
    """Keep an attempt that ended before it had a row, so that it counts as one."""
    values = {"run_id": run_id, "kind": "nightly", "state": state, "started_at": at, "heartbeat_at": at, "ended_at": at}
    told = "ended" if state == "cancelled" else ""
    await connection.execute(runs.insert().values(**values, trigger=trigger, night_at=night_at, error=error, detail=detail, told=told))


async def recent(connection: AsyncConnection, limit: int = 20) -> list[Run]:
    """The newest of any kind, newest first."""
    return await _find(connection, select(*COLUMNS), limit)


async def newest(connection: AsyncConnection, kind: str | None = None) -> Run | None:
    found = await _find(connection, select(*COLUMNS).where(runs.c.kind == kind) if kind else select(*COLUMNS), limit=1)
    return found[0] if found else None


async def of_night(connection: AsyncConnection, night_at: datetime) -> list[Run]:
    """The attempts at one night, newest first."""
    return await _find(connection, select(*COLUMNS).where(runs.c.night_at == night_at))


async def since_full(connection: AsyncConnection) -> int:
    """How many nights went on from an adapter since the last that began with the base model."""
    nights = await _find(connection, select(*COLUMNS).where(runs.c.kind == "nightly", runs.c.state == "done"))
    kinds = [run.detail.get("kind") for run in nights if run.detail.get("adapter")]
    return kinds.index("full") if "full" in kinds else len(kinds)


async def untold(connection: AsyncConnection) -> list[Run]:
    """Nights whose message in the owner's chat does not say yet how they ended, oldest first."""
    return (await _find(connection, select(*COLUMNS).where(runs.c.kind == "nightly", runs.c.told != "ended")))[::-1]


async def mark_told(connection: AsyncConnection, run_id: str, told: str, message_id: int | None) -> None:
    await connection.execute(update(runs).where(runs.c.run_id == run_id).values(told=told, message_id=message_id))


async def get(connection: AsyncConnection, run_id: str) -> Run | None:
    found = await _find(connection, select(*COLUMNS).where(runs.c.run_id == run_id))
    return found[0] if found else None


async def decide(connection: AsyncConnection, run_id: str, outcome: str, line: str) -> None:
    """Note what the owner made of a night that waited for his word."""
    run = await get(connection, run_id)
    if run:
        await connection.execute(
            update(runs).where(runs.c.run_id == run_id).values(detail={**run.detail, "outcome": outcome, "line": line})
        )


async def _find(connection: AsyncConnection, query: Select[Any], limit: int | None = None) -> list[Run]:
    rows = await connection.execute(query.order_by(runs.c.started_at.desc(), runs.c.run_id.desc()).limit(limit))
    return [Run(*tuple[Any, ...](row)) for row in rows]
