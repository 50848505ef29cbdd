"""The inbox: updates as they came, kept before the poll that acknowledges them, taken out in order. A contact's plain words pass it by
(`bot.plain`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import delete, func, null, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store.driver import run_at_once
from twin.store.prepared import Prepared, given
from twin.store.tables import inbox
from twin.times import microseconds

WAITING = Prepared(
    select(inbox.c.update_id, inbox.c.payload, inbox.c.attempts)
    .where(inbox.c.done_at.is_(None))
    .order_by(inbox.c.update_id)
    .limit(given("count"))
)
FINISH = Prepared(update(inbox).where(inbox.c.update_id == given("which")).values(done_at=given("done_at"), payload="", outcome=null()))
OUTCOME = Prepared(select(inbox.c.outcome).where(inbox.c.update_id == given("which")))
NOTE_OUTCOME = Prepared(update(inbox).where(inbox.c.update_id == given("which")).values(outcome=given("outcome")))
KEEP = "INSERT INTO inbox (update_id, payload, received_at, attempts) VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING"
_KINDS = ("business_message", "edited_business_message", "deleted_business_messages")
_DIALOG = func.coalesce(*(func.json_extract(inbox.c.payload, f"$.{kind}.chat.id") for kind in _KINDS))
# Telegram names the kind right behind the update's id, so the rest need not be looked through.
UNHEEDED = Prepared(select(_DIALOG).where(inbox.c.done_at.is_(None), func.substr(inbox.c.payload, 1, 80).like("%business%")))


@dataclass(frozen=True)
class Received:
    update_id: int
    payload: str  # the update's JSON
    attempts: int  # how often handling it has failed, or has begun since it is suspected of having ended the process

    @cached_property
    def update(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.payload)
        return found


async def keep(connection: AsyncConnection, updates: Iterable[Mapping[str, Any]], at: datetime) -> int:
    """Keep updates; one that is there already (delivered twice) changes nothing. Returns how many were new."""
    kept_at, new = microseconds(at), 0
    for one in updates:
        new += run_at_once(connection, KEEP, (one["update_id"], _payload(one), kept_at)).rowcount
    return new


def _payload(update: Mapping[str, Any]) -> str:
    """Its JSON. Half a character (a lone surrogate, which JSON can name) is kept as JSON names it: no store takes it as text, and an
    update that could not be kept would be asked for again for ever."""
    payload = json.dumps(update, ensure_ascii=False, separators=(",", ":"))
    try:
        payload.encode()
    except UnicodeEncodeError:
        return json.dumps(update, separators=(",", ":"))
    return payload


async def first(connection: AsyncConnection) -> Received | None:
    """The oldest update that waits."""
    return next(iter(await waiting(connection, limit=1)), None)


async def waiting(connection: AsyncConnection, *, limit: int) -> list[Received]:
    """The oldest updates that wait, in order."""
    return [Received(*row) for row in await WAITING.rows(connection, count=limit)]


async def unheeded(connection: AsyncConnection) -> set[int] | None:
    """The dialogs of the owner's account with something in the inbox that is not handled yet; None: it may concern all of them."""
    found = {row[0] for row in await UNHEEDED.rows(connection)}
    return None if None in found else found


async def outcome(connection: AsyncConnection, update_id: int) -> str | None:
    """What was noted about an update that was handled before; None: nothing."""
    row = await OUTCOME.first(connection, which=update_id)
    return row[0] if row else None


async def note_outcome(connection: AsyncConnection, update_id: int, outcome: str) -> None:
    """To be called in the transaction that holds the effect. An update that is not in the inbox could not be told from a repeated one,
    and so may have no effect: that is a bug, and raises LookupError."""
    if not await NOTE_OUTCOME.run(connection, which=update_id, outcome=outcome):
        raise LookupError(f"update {update_id} is not in the inbox")


async def count_failure(connection: AsyncConnection, update_id: int) -> None:
    await connection.execute(update(inbox).where(inbox.c.update_id == update_id).values(attempts=inbox.c.attempts + 1))


async def finish(connection: AsyncConnection, update_id: int, at: datetime) -> None:
    """Done: what it said is elsewhere in the store now, so the payload goes."""
    await FINISH.run(connection, which=update_id, done_at=at)


async def set_aside(connection: AsyncConnection, update_id: int, error: str, at: datetime) -> None:
    """Given up: `error` names the class of what went wrong. The payload stays, so that nothing is lost."""
    await connection.execute(update(inbox).where(inbox.c.update_id == update_id).values(done_at=at, error=error))


async def purge(connection: AsyncConnection, before: datetime) -> int:
    """Forget finished updates older than `before`. Telegram delivers none again after 24 hours."""
    done = delete(inbox).where(inbox.c.done_at < before, inbox.c.error.is_(None))
    return (await connection.execute(done)).rowcount
