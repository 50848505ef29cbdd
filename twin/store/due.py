"""Dialogs that wait for a draft, and the moment from which it may be written."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, delete, null, or_, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store.prepared import Prepared, given
from twin.store.tables import outbox, replies_due


class Due(NamedTuple):
    channel: str
    dialog_id: int
    due_at: datetime  # also tells whether a message came in since: every one moves it
    attempts: int
    failing_since: datetime | None


COLUMNS = tuple(getattr(replies_due.c, name) for name in Due._fields)


_INSERT = insert(replies_due).values(channel=given("channel"), dialog_id=given("dialog_id"), due_at=given("due_at"), attempts=0)
PUT = Prepared(
    _INSERT.on_conflict_do_update(
        index_elements=["channel", "dialog_id"], set_={"due_at": _INSERT.excluded.due_at, "attempts": 0, "failing_since": null()}
    )
)
_HERE = replies_due.c.channel == given("channel"), replies_due.c.dialog_id == given("dialog_id")
ONE = Prepared(select(*COLUMNS).where(*_HERE))
TAKE = Prepared(delete(replies_due).where(*_HERE, replies_due.c.due_at == given("due_at")))
MOVE = Prepared(
    update(replies_due)
    .where(
        replies_due.c.channel == given("in_channel"), replies_due.c.dialog_id == given("in_dialog"), replies_due.c.due_at == given("was")
    )
    .values(due_at=given("due_at"), attempts=given("attempts"), failing_since=given("failing_since"))
)


def _has(*states: str) -> ColumnElement[bool]:
    same = outbox.c.dialog_id == replies_due.c.dialog_id, outbox.c.channel == replies_due.c.channel
    return select(outbox.c.id).where(*same, outbox.c.state.in_(states)).exists()


_GOING_OUT = _has("waiting", "sending", "unheard") & ~_has("uncertain")
FIRST_ONES = Prepared(
    select(*COLUMNS)
    .where(~_GOING_OUT, or_(given("only").is_(None), replies_due.c.dialog_id == given("only")))
    .order_by(replies_due.c.due_at, replies_due.c.dialog_id)
    .limit(given("count"))
)


async def put(connection: AsyncConnection, channel: str, dialog_id: int, due_at: datetime) -> None:
    """A message came: draft from `due_at` on. One more of the same burst moves it on; an engine that failed gets a new start."""
    await PUT.run(connection, channel=channel, dialog_id=dialog_id, due_at=due_at)


async def get(connection: AsyncConnection, channel: str, dialog_id: int) -> Due | None:
    row = await ONE.first(connection, channel=channel, dialog_id=dialog_id)
    return Due._make(row) if row else None


async def first_ones(connection: AsyncConnection, limit: int, *, only: int | None = None) -> list[Due]:
    """Those due first, however late. A dialog whose last answer is still going out waits for the end of it, unless that
    stands still because the owner has to say whether something arrived. `only` names one dialog."""
    return [Due._make(row) for row in await FIRST_ONES.rows(connection, count=limit, only=only)]


async def move(connection: AsyncConnection, due: Due, due_at: datetime, *, attempts: int, failing_since: datetime | None) -> None:
    """Try later, unless a new message has moved it meanwhile."""
    old = {"in_channel": due.channel, "in_dialog": due.dialog_id, "was": due.due_at}
    await MOVE.run(connection, due_at=due_at, attempts=attempts, failing_since=failing_since, **old)


async def take(connection: AsyncConnection, due: Due) -> bool:
    """Settle it. False if a message came in since it was read: what was drafted is out of date then."""
    return await TAKE.run(connection, channel=due.channel, dialog_id=due.dialog_id, due_at=due.due_at) == 1


async def drop(connection: AsyncConnection, channel: str, dialog_id: int) -> None:
    await connection.execute(delete(replies_due).where(*_is(channel, dialog_id)))


def _is(channel: str, dialog_id: int) -> tuple[Any, ...]:
    return replies_due.c.channel == channel, replies_due.c.dialog_id == dialog_id
