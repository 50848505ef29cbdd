"""How things stand, for /status: counts only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store import outbox
from twin.store.tables import IS_PENDING, dialogs, inbox, replies_due, runs


@dataclass(frozen=True)
class LastRun:
    kind: str
    state: str
    stage: str
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class Overview:
    modes: dict[str | None, int]  # None: the default mode
    pending: int
    due: int
    waiting: int  # bubbles that are to go out
    uncertain: int
    set_aside: int  # updates that could not be handled
    last_run: LastRun | None


async def read(connection: AsyncConnection, *, owner_id: int) -> Overview:
    contacts = select(dialogs.c.mode, func.count()).where(dialogs.c.dialog_id != owner_id, dialogs.c.excluded.is_(False))
    modes = {row[0]: row[1] for row in await connection.execute(contacts.group_by(dialogs.c.mode))}
    sends = await outbox.counts(connection)
    newest = select(runs.c.kind, runs.c.state, runs.c.stage, runs.c.started_at, runs.c.ended_at).order_by(runs.c.started_at.desc())
    run = (await connection.execute(newest.limit(1))).one_or_none()

    async def count(query: object) -> int:
        return int((await connection.execute(query)).scalar_one())  # type: ignore[call-overload]

    return Overview(
        modes=modes,
        pending=await count(select(func.count()).where(IS_PENDING)),
        due=await count(select(func.count()).select_from(replies_due)),
        waiting=sends.get("waiting", 0) + sends.get("sending", 0),
        uncertain=sends.get("uncertain", 0),
        set_aside=await count(select(func.count()).where(inbox.c.error.is_not(None))),
        last_run=LastRun(*run) if run else None,
    )
