"""What a draft that never went was worth, by what the owner then really said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store import drafts
from twin.store.drafts import Draft
from twin.store.tables import comparisons


@dataclass(frozen=True)
class Comparison:
    """`likeness` 0 to 1, see twin.shadow; the messages are of the draft's channel."""

    draft_id: int
    dialog_id: int
    likeness: float
    owner_message_ids: list[int]
    at: datetime


COLUMNS = tuple(getattr(comparisons.c, name) for name in Comparison.__dataclass_fields__)


async def put(connection: AsyncConnection, draft: Draft, likeness: float, owner_message_ids: Sequence[int], at: datetime) -> None:
    """Keep it, or what it has become with one more message of the owner's."""
    row = {"likeness": likeness, "owner_message_ids": list(owner_message_ids), "at": at}
    statement = insert(comparisons).values(draft_id=draft.id, dialog_id=draft.dialog_id, **row)
    await connection.execute(statement.on_conflict_do_update(index_elements=["draft_id"], set_=row))


async def get(connection: AsyncConnection, draft_id: int) -> Comparison | None:
    row = (await connection.execute(select(*COLUMNS).where(comparisons.c.draft_id == draft_id))).one_or_none()
    return Comparison(*tuple[Any, ...](row)) if row else None


async def since(connection: AsyncConnection, at: datetime) -> list[Comparison]:
    """What was compared from then on, oldest first."""
    rows = await connection.execute(select(*COLUMNS).where(comparisons.c.at >= at).order_by(comparisons.c.at, comparisons.c.draft_id))
    return [Comparison(*tuple[Any, ...](row)) for row in rows]


async def newest_unsent(connection: AsyncConnection, channel: str, dialog_id: int, reasons: Sequence[str]) -> Draft | None:
    """The newest draft of a dialog, if it ended for one of these reasons."""
    newest = await drafts.newest(connection, channel, dialog_id)
    return newest if newest and newest.state == "expired" and newest.reason in reasons and newest.text else None
