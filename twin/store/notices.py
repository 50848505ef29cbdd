"""What the owner must be told: written down in the transaction that found it out, told when Telegram can be reached."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store.prepared import Prepared
from twin.store.tables import notices

UNTOLD = Prepared(select(notices.c.id, notices.c.text, notices.c.outbox_id).where(notices.c.told_at.is_(None)).order_by(notices.c.id))


@dataclass(frozen=True)
class Notice:
    id: int
    text: str
    outbox_id: int | None  # the send that it asks about: did it arrive?


async def add(connection: AsyncConnection, text: str, at: datetime, *, outbox_id: int | None = None) -> None:
    await connection.execute(notices.insert().values(text=text, outbox_id=outbox_id, created_at=at))


async def untold(connection: AsyncConnection) -> list[Notice]:
    return [Notice(*row) for row in await UNTOLD.rows(connection)]


async def mark_told(connection: AsyncConnection, notice_id: int, at: datetime) -> None:
    await connection.execute(update(notices).where(notices.c.id == notice_id).values(told_at=at))


async def withdraw(connection: AsyncConnection, outbox_id: int) -> bool:
    """Do not ask about this send any more. False if it was asked already, or never would have been."""
    untold = notices.c.outbox_id == outbox_id, notices.c.told_at.is_(None)
    return (await connection.execute(delete(notices).where(*untold))).rowcount > 0
