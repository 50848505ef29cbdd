"""Runs: what was attempted, how far it is, how it ended. One running row has a living process behind it, or is a leftover."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store.tables import runs

Ended = Literal["done", "failed", "cancelled"]


@dataclass(frozen=True)
class Run:
    run_id: str
    kind: str  # full | nightly
    state: str  # running | done | failed | cancelled
    stage: str
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None
    detail: dict[str, Any]
    error: str | None


COLUMNS = tuple(getattr(runs.c, name) for name in Run.__dataclass_fields__)


async def begin(connection: AsyncConnection, run_id: str, kind: str, at: datetime) -> None:
    """Start a run. Call it holding the training lock: whatever still says `running` was interrupted then."""
    await connection.execute(
        update(runs).where(runs.c.state == "running").values(state="failed", ended_at=runs.c.heartbeat_at, error="It was interrupted.")
    )
    await connection.execute(runs.insert().values(run_id=run_id, kind=kind, state="running", started_at=at, heartbeat_at=at))


async def beat(connection: AsyncConnection, run_id: str, stage: str, at: datetime) -> None:
    await connection.execute(update(runs).where(runs.c.run_id == run_id).values(stage=stage, heartbeat_at=at))


async def end(
    connection: AsyncConnection, run_id: str, state: Ended, at: datetime, *, detail: dict[str, Any] | None = None, error: str | None = None
) -> None:
    await connection.execute(
        update(runs).where(runs.c.run_id == run_id).values(state=state, ended_at=at, heartbeat_at=at, detail=detail or {}, error=error)
    )


async def newest(connection: AsyncConnection, kind: str | None = None) -> Run | None:
    query = select(*COLUMNS).order_by(runs.c.started_at.desc(), runs.c.run_id.desc()).limit(1)
    row = (await connection.execute(query.where(runs.c.kind == kind) if kind else query)).one_or_none()
    return Run(*tuple[Any, ...](row)) if row else None
