"""Messages: saved once by (channel, dialog, id), edits and deletions followed, read back in order of time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store.driver import run_at_once, run_beside
from twin.store.prepared import Prepared, given
from twin.store.tables import messages, outbox
from twin.times import microseconds
from twin.turns import Message

COLUMNS = tuple(getattr(messages.c, name) for name in Message._fields)
SENT_AT = Message._fields.index("sent_at")
INSERT = f"INSERT INTO messages ({', '.join(Message._fields)}) VALUES "
PLACES = f"({', '.join('?' * len(COLUMNS))})"
INSERT_ONE = f"{INSERT}{PLACES} ON CONFLICT DO NOTHING"
ROWS_A_STATEMENT = 1000  # of 13 values; SQLite takes 32,766 values in one
MANY = 200  # rows that take SQLite about a millisecond, in which the loop may well do something else


_HERE = messages.c.channel == given("channel"), messages.c.dialog_id == given("dialog_id"), messages.c.message_id == given("message_id")
ONE = Prepared(select(*COLUMNS).where(*_HERE))
HISTORY = Prepared(
    select(*COLUMNS)
    .where(messages.c.dialog_id == given("which"), messages.c.deleted_at.is_(None))
    .order_by(messages.c.sent_at.desc(), messages.c.message_id.desc())
    .limit(given("count"))  # -1: all
)
NEWEST_ID = Prepared(
    select(messages.c.message_id)
    .where(
        messages.c.channel == given("channel"),
        messages.c.dialog_id == given("dialog_id"),
        messages.c.out.is_(False),
        messages.c.kind != "service",
    )
    .order_by(messages.c.message_id.desc())  # the key's own order: one row is read, where max() would read the chat
    .limit(1)
)
DISOWN = Prepared(update(messages).where(*_HERE, messages.c.source == "collected").values(source="twin"))


async def save(connection: AsyncConnection, rows: Iterable[Message], *, replaces: str | None = None) -> int:
    """Insert what is new; returns how many were. A message that is there already keeps its source and its place;
    its text is replaced if it differs (an edit seen later). What was marked deleted stays so. What came through a connection
    (`business`) takes the source of whoever reads it again, the collector or an import.

    `replaces` limits the replacing to rows of this source."""
    rows = list(rows)
    # Many rows in one statement, past SQLAlchemy's processing of each: the driver takes Python's lock again after each statement,
    # and would wait for it up to 5 ms each time while a collection reads.
    new = 0
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        some = rows[start : start + ROWS_A_STATEMENT]
        statement = f"{INSERT}{', '.join([PLACES] * len(some))} ON CONFLICT DO NOTHING"
        # The driver counts inserted rows; asking the table would cost a scan per batch.
        values = _values(some)
        new += await run_beside(connection, statement, values) if len(some) >= MANY else run_at_once(connection, statement, values).rowcount
    if new < len(rows):
        await connection.execute(
            update(messages)
            .where(
                messages.c.channel == bindparam("at_channel"),
                messages.c.dialog_id == bindparam("at_dialog_id"),
                messages.c.message_id == bindparam("at_message_id"),
                messages.c.deleted_at.is_(None),
                messages.c.text != bindparam("new_text"),
                *([] if replaces is None else [messages.c.source == replaces]),
            )
            .values(text=bindparam("new_text"), kind=bindparam("new_kind")),
            [
                {
                    "at_channel": m.channel,
                    "at_dialog_id": m.dialog_id,
                    "at_message_id": m.message_id,
                    "new_text": m.text,
                    "new_kind": m.kind,
                }
                for m in rows
            ],
        )
        adopted = [{"of": m.channel, "in": m.dialog_id, "id": m.message_id, "new": m.source} for m in rows if m.source != "business"]
        await _adopt(connection, adopted)
    return new


async def add(connection: AsyncConnection, message: Message) -> bool:
    """Keep one message. False, and nothing changed, if it is there already."""
    return run_at_once(connection, INSERT_ONE, _values([message])).rowcount == 1


def _values(rows: Sequence[Message]) -> tuple[Any, ...]:
    """Of all rows, one after the other, as the columns hold them."""
    values: list[Any] = list(chain.from_iterable(rows))
    values[SENT_AT :: len(COLUMNS)] = map(microseconds, values[SENT_AT :: len(COLUMNS)])
    return tuple(values)


async def _adopt(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        same = messages.c.channel == bindparam("of"), messages.c.dialog_id == bindparam("in"), messages.c.message_id == bindparam("id")
        statement = update(messages).where(*same, messages.c.source == "business").values(source=bindparam("new"))
        await connection.execute(statement, rows)


async def renumber(connection: AsyncConnection, channel: str, dialog_id: int, old_id: int, new_id: int) -> None:
    """What was kept under a provisional id is known under Telegram's own."""
    await connection.execute(update(messages).where(*_is(channel, dialog_id, old_id)).values(message_id=new_id))


async def edit(
    connection: AsyncConnection, channel: str, dialog_id: int, message_id: int, text: str, at: datetime, *, kind: str | None = None
) -> None:
    """What was marked deleted stays without words. `kind` None: as it was."""
    kept = *_is(channel, dialog_id, message_id), messages.c.deleted_at.is_(None)
    changed = {"text": text, "edited_at": at} | ({"kind": kind} if kind else {})
    await connection.execute(update(messages).where(*kept).values(changed))


async def disown(connection: AsyncConnection, channel: str, dialog_id: int, message_id: int) -> None:
    """A collection that ran beside a send took it for the owner's: it is the twin's, and is not learned from."""
    await DISOWN.run(connection, channel=channel, dialog_id=dialog_id, message_id=message_id)


async def mark_deleted(connection: AsyncConnection, channel: str, dialog_id: int, message_ids: Sequence[int], at: datetime) -> None:
    """Keep the row, so that a later import does not bring it back; the text goes at once."""
    await connection.execute(
        update(messages)
        .where(messages.c.channel == channel, messages.c.dialog_id == dialog_id, messages.c.message_id.in_(message_ids))
        .values(deleted_at=at, text="")
    )


async def history(connection: AsyncConnection, dialog_id: int, *, newest: int | None = None) -> list[Message]:
    """One dialog over all channels, oldest first, deleted ones left out; `newest` limits it to the last ones."""
    rows = await HISTORY.rows(connection, which=dialog_id, count=-1 if newest is None else newest)
    return [Message._make(row) for row in reversed(rows)]


async def sent_since(connection: AsyncConnection, channel: str, dialog_id: int, since: datetime) -> dict[int, tuple[str, str]]:
    """message id -> (text, kind) of what was sent from then on and is not marked deleted."""
    mine = messages.c.dialog_id == dialog_id, messages.c.sent_at >= since, messages.c.channel == channel, messages.c.deleted_at.is_(None)
    rows = await connection.execute(select(messages.c.message_id, messages.c.text, messages.c.kind).where(*mine))
    return {row[0]: (row[1], row[2]) for row in rows}


async def get(connection: AsyncConnection, channel: str, dialog_id: int, message_id: int) -> Message | None:
    """One message, marked deleted or not."""
    row = await ONE.first(connection, channel=channel, dialog_id=dialog_id, message_id=message_id)
    return Message._make(row) if row else None


async def sent_before(connection: AsyncConnection, channel: str, dialog_id: int, message_id: int) -> datetime | None:
    """When the message with the next lower id of a dialog was sent."""
    lower = messages.c.channel == channel, messages.c.dialog_id == dialog_id, messages.c.message_id < message_id
    query = select(messages.c.sent_at).where(*lower).order_by(messages.c.message_id.desc()).limit(1)
    return (await connection.execute(query)).scalar_one_or_none()


async def dialogs_of(connection: AsyncConnection, channel: str, message_ids: Sequence[int]) -> dict[int, list[int]]:
    """dialog id -> which of these messages are its. The ids of the owner's account are one sequence over all private chats."""
    found: dict[int, list[int]] = {}
    for start in range(0, len(message_ids), ROWS_A_STATEMENT):
        some = messages.c.channel == channel, messages.c.message_id.in_(message_ids[start : start + ROWS_A_STATEMENT])
        for dialog_id, message_id in await connection.execute(select(messages.c.dialog_id, messages.c.message_id).where(*some)):
            found.setdefault(dialog_id, []).append(message_id)
    return found


async def last_ids(connection: AsyncConnection, channel: str) -> dict[int, int]:
    """dialog id -> the highest message id known of it."""
    query = select(messages.c.dialog_id, func.max(messages.c.message_id)).where(messages.c.channel == channel)
    return {row[0]: row[1] for row in await connection.execute(query.group_by(messages.c.dialog_id))}


async def written_by_hand_after(connection: AsyncConnection, channel: str, dialog_id: int, message_id: int) -> bool:
    """Whether the owner has typed a message of his own here since that one, in Telegram itself."""
    mine = messages.c.channel == channel, messages.c.dialog_id == dialog_id, messages.c.out, messages.c.kind != "service"
    # A collection that runs beside a send may have stored it before its outcome was written down.
    sent = select(outbox.c.sent_message_id).where(outbox.c.channel == channel, outbox.c.sent_message_id.is_not(None))
    newer = messages.c.message_id > message_id, messages.c.source.in_(("collected", "business")), messages.c.message_id.not_in(sent)
    by_hand = select(messages.c.message_id).where(*mine, *newer, messages.c.unattended.is_(False))
    return (await connection.execute(by_hand.limit(1))).first() is not None


async def after(connection: AsyncConnection, channel: str, dialog_id: int, message_id: int) -> list[Message]:
    """What came into a chat after this message and is not marked deleted, by id."""
    newer = messages.c.channel == channel, messages.c.dialog_id == dialog_id, messages.c.message_id > message_id
    query = select(*COLUMNS).where(*newer, messages.c.deleted_at.is_(None)).order_by(messages.c.message_id)
    return [Message._make(row) for row in await connection.execute(query)]


async def provisional(connection: AsyncConnection, channel: str, dialog_id: int) -> list[Message]:
    """What arrived by the owner's word, kept under the negative of its bubble's id, oldest first."""
    mine = messages.c.channel == channel, messages.c.dialog_id == dialog_id, messages.c.message_id < 0
    return [Message._make(row) for row in await connection.execute(select(*COLUMNS).where(*mine).order_by(messages.c.message_id.desc()))]


async def newest_id(connection: AsyncConnection, channel: str, dialog_id: int) -> int:
    """The contact's newest message of a dialog; 0 if there is none."""
    row = await NEWEST_ID.first(connection, channel=channel, dialog_id=dialog_id)
    return (row and row[0]) or 0


async def last_written(connection: AsyncConnection) -> dict[int, datetime]:
    """dialog id -> when the contact last wrote, over all channels."""
    theirs = messages.c.out.is_(False), messages.c.kind != "service", messages.c.deleted_at.is_(None)
    query = select(messages.c.dialog_id, func.max(messages.c.sent_at)).where(*theirs).group_by(messages.c.dialog_id)
    return {row[0]: row[1] for row in await connection.execute(query)}


async def by_dialog(connection: AsyncConnection, dialog_ids: Sequence[int]) -> AsyncIterator[tuple[int, list[Message]]]:
    """Whole dialogs, one at a time."""
    for dialog_id in dialog_ids:
        yield dialog_id, await history(connection, dialog_id)


async def counts(connection: AsyncConnection, *, channel: str | None = None) -> dict[int, tuple[int, int]]:
    """dialog id -> (messages, of which the owner's), of all channels or of one."""
    query = select(messages.c.dialog_id, func.count(), func.count().filter(messages.c.out)).where(messages.c.deleted_at.is_(None))
    if channel is not None:
        query = query.where(messages.c.channel == channel)
    return {row[0]: (row[1], row[2]) for row in await connection.execute(query.group_by(messages.c.dialog_id))}


def _is(channel: str, dialog_id: int, message_id: int) -> tuple[Any, ...]:
    return messages.c.channel == channel, messages.c.dialog_id == dialog_id, messages.c.message_id == message_id
