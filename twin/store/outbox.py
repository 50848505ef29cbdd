"""The outbox: one row a bubble, written before it is tried.

waiting ──▶ sending ──▶ sent | failed (refused) | waiting (certainly not gone)
   │           └──────▶ unheard (nobody knows yet: its echo may still come) ──▶ sent | uncertain
   │                    uncertain (nobody knows) ──▶ sent | waiting, by the owner's word or by what a session can read
   └──▶ cancelled (before it was tried: a takeover, an undo, /pause)      sent ──▶ retracting ──▶ retracted | sent (it cannot be deleted)
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal

from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from twin.store.drafts import Draft
from twin.store.prepared import Prepared, given
from twin.store.tables import outbox

State = Literal["waiting", "sending", "unheard", "sent", "failed", "uncertain", "cancelled", "retracting", "retracted"]
Way = Literal["bot", "business", "session"]


@dataclass(frozen=True)
class Bubble:
    """One message to send. `random_id` is MTProto's idempotency key; the Bot API has none. `way`: the one it was tried by."""

    id: int
    draft_id: int
    channel: str
    dialog_id: int
    position: int
    text: str
    random_id: int
    state: State
    not_before_at: datetime | None
    tried_at: datetime | None
    sent_message_id: int | None
    error: str | None
    way: Way | None
    typing_at: datetime | None


COLUMNS = tuple(getattr(outbox.c, name) for name in Bubble.__dataclass_fields__)
_NEW = ("draft_id", "channel", "dialog_id", "state", "position", "text", "random_id")
ADD = Prepared(outbox.insert().values({name: given(name) for name in _NEW}))
ONE = Prepared(select(*COLUMNS).where(outbox.c.id == given("which")))
OF_DRAFT = Prepared(select(*COLUMNS).where(outbox.c.draft_id == given("which")).order_by(outbox.c.position))


@cache
def _move(*names: str) -> Prepared:
    found = outbox.c.id == given("in_id"), outbox.c.state == given("in_state")
    return Prepared(update(outbox).where(*found).values({name: given(name) for name in ("state", *names)}))


async def add(connection: AsyncConnection, draft: Draft, bubbles: Sequence[str]) -> None:
    fixed = {"draft_id": draft.id, "channel": draft.channel, "dialog_id": draft.dialog_id, "state": "waiting"}
    for i, text in enumerate(bubbles):
        await ADD.run(connection, **fixed, position=i, text=text, random_id=secrets.randbits(63))


async def get(connection: AsyncConnection, bubble_id: int) -> Bubble | None:
    row = await ONE.first(connection, which=bubble_id)
    return Bubble(*row) if row else None


async def of_draft(connection: AsyncConnection, draft_id: int) -> list[Bubble]:
    return [Bubble(*row) for row in await OF_DRAFT.rows(connection, which=draft_id)]


async def in_state(connection: AsyncConnection, state: State) -> list[Bubble]:
    return [_bubble(row) for row in await connection.execute(select(*COLUMNS).where(outbox.c.state == state).order_by(outbox.c.id))]


async def first(connection: AsyncConnection) -> Bubble | None:
    """The bubble that may go out first, which may still have to wait for `not_before_at`.

    Order within a chat is kept: nothing passes an earlier bubble of its dialog that has not settled, so a chat with an
    uncertain bubble stands still until the owner has answered.
    """
    earlier = outbox.alias()
    unsettled = select(earlier.c.id).where(
        earlier.c.channel == outbox.c.channel,
        earlier.c.dialog_id == outbox.c.dialog_id,
        earlier.c.id < outbox.c.id,
        earlier.c.state.in_(("waiting", "sending", "uncertain")),
    )
    query = select(*COLUMNS).where(outbox.c.state == "waiting", ~unsettled.exists())
    # NULL sorts first in SQLite: what need not wait goes before what must.
    row = (await connection.execute(query.order_by(outbox.c.not_before_at, outbox.c.id).limit(1))).one_or_none()
    return _bubble(row) if row else None


async def move(connection: AsyncConnection, bubble: Bubble, state: State, **values: Any) -> bool:
    """Change the state. False if it is no longer in the state in which `bubble` was read."""
    return await _move(*sorted(values)).run(connection, in_id=bubble.id, in_state=bubble.state, state=state, **values) == 1


async def hold_next(connection: AsyncConnection, bubble: Bubble, until: datetime) -> bool:
    """Let the next bubble of the same draft wait; False if there is none."""
    return (await connection.execute(update(outbox).where(*_rest(bubble)).values(not_before_at=until))).rowcount > 0


async def fail_rest(connection: AsyncConnection, bubble: Bubble, error: str) -> None:
    await connection.execute(update(outbox).where(*_rest(bubble)).values(state="failed", error=error))


async def counts(connection: AsyncConnection) -> dict[str, int]:
    rows = await connection.execute(select(outbox.c.state, func.count()).group_by(outbox.c.state))
    return {row[0]: row[1] for row in rows}


def _rest(bubble: Bubble) -> tuple[ColumnElement[bool], ...]:
    return outbox.c.draft_id == bubble.draft_id, outbox.c.position > bubble.position, outbox.c.state == "waiting"


def _bubble(row: Row[Any]) -> Bubble:
    return Bubble(*tuple[Any, ...](row))
