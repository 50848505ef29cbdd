"""Edits in progress: which question to the owner asks for the text of which draft. They survive a restart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store.tables import prompts


@dataclass(frozen=True)
class Prompt:
    """`message_id` is the question in the owner's chat."""

    message_id: int
    draft_id: int
    created_at: datetime
    closed_at: datetime | None


COLUMNS = tuple(getattr(prompts.c, name) for name in Prompt.__dataclass_fields__)


async def add(connection: AsyncConnection, message_id: int, draft_id: int, at: datetime) -> None:
    statement = insert(prompts).values(message_id=message_id, draft_id=draft_id, created_at=at)
    await connection.execute(statement.on_conflict_do_nothing())


async def asked_by(connection: AsyncConnection, message_id: int) -> Prompt | None:
    return await _one(connection, prompts.c.message_id == message_id)


async def newest_open(connection: AsyncConnection, since: datetime) -> Prompt | None:
    return await _one(connection, prompts.c.closed_at.is_(None), prompts.c.created_at >= since)


async def close(connection: AsyncConnection, draft_id: int, at: datetime) -> int:
    """Close every open question about a draft; returns how many there were."""
    open_ones = update(prompts).where(prompts.c.draft_id == draft_id, prompts.c.closed_at.is_(None))
    return (await connection.execute(open_ones.values(closed_at=at))).rowcount


async def _one(connection: AsyncConnection, *where: Any) -> Prompt | None:
    query = select(*COLUMNS).where(*where).order_by(prompts.c.created_at.desc(), prompts.c.message_id.desc())
    row = (await connection.execute(query.limit(1))).one_or_none()
    return Prompt(*tuple[Any, ...](row)) if row else None
