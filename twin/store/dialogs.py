"""Dialogs: who they are, their mode, their consent, how far they were collected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, delete, exists, func, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.errors import InputError
from twin.names import clean_name
from twin.store.prepared import Prepared, given
from twin.store.tables import consents, dialogs, drafts, inbox, messages, outbox, replies_due

Mode = Literal["off", "shadow", "approve", "auto"]
ConsentEvent = Literal["asked", "given", "revoked"]


class Dialog(NamedTuple):
    """One private chat. `consent` is the newest event recorded, None if there is none; `mode` None means the default.

    `silent_until`: the owner talks here himself, so the twin holds its tongue until then. `undecodable_with`: the version of Telethon
    that could not read what is new here."""

    dialog_id: int
    name: str
    username: str | None
    mode: Mode | None
    watermark: int
    excluded: bool
    silent_until: datetime | None
    undecodable_with: str | None
    consent: ConsentEvent | None


_NEWEST = select(consents.c.event).where(consents.c.dialog_id == dialogs.c.dialog_id).order_by(consents.c.id.desc()).limit(1)
_COLUMNS = [getattr(dialogs.c, name) for name in Dialog._fields[:-1]]
ALL = Prepared(select(*_COLUMNS, _NEWEST.scalar_subquery()).order_by(dialogs.c.name, dialogs.c.dialog_id))
ONE = Prepared(select(*_COLUMNS, _NEWEST.scalar_subquery()).where(dialogs.c.dialog_id == given("which")))
_INSERT = insert(dialogs).values(dialog_id=given("dialog_id"), name=given("name"), username=given("username"))
SAVE = Prepared(
    _INSERT.on_conflict_do_update(index_elements=["dialog_id"], set_={"name": _INSERT.excluded.name, "username": _INSERT.excluded.username})
)
SAME_NAME = Prepared(
    select(dialogs.c.dialog_id)
    .where(dialogs.c.name.collate("NOCASE") == given("name"), dialogs.c.dialog_id != given("which"), dialogs.c.excluded.is_(False))
    .limit(1)
)
SILENT = Prepared(select(dialogs.c.dialog_id, dialogs.c.silent_until).where(dialogs.c.silent_until > given("now")))


async def save(connection: AsyncConnection, dialog_id: int, *, name: str, username: str | None) -> None:
    """Insert, or follow a changed name. Mode, consent and watermark stay."""
    await SAVE.run(connection, dialog_id=dialog_id, name=clean_name(name), username=username, watermark=0, excluded=False)


async def find(connection: AsyncConnection) -> list[Dialog]:
    """All dialogs by name."""
    return [_dialog(row) for row in await ALL.rows(connection)]


async def get(connection: AsyncConnection, dialog_id: int) -> Dialog | None:
    row = await ONE.first(connection, which=dialog_id)
    return _dialog(row) if row else None


def _dialog(row: Sequence[Any]) -> Dialog:
    """Names that an older version kept as they came are clean from here on."""
    dialog = Dialog._make(row)
    name = clean_name(dialog.name)
    return dialog if name == dialog.name else dialog._replace(name=name)


async def excluded(connection: AsyncConnection) -> set[int]:
    """The ids of all dialogs that are never collected."""
    return {row[0] for row in await connection.execute(select(dialogs.c.dialog_id).where(dialogs.c.excluded))}


async def strangers(connection: AsyncConnection) -> set[int]:
    """Who has only ever written to the bot: nothing of them is in the owner's own chats."""
    query = select(dialogs.c.dialog_id).where(dialogs.c.watermark == 0, _has("bot"), ~_has("account"))
    return {row[0] for row in await connection.execute(query)}


async def forgotten(connection: AsyncConnection) -> set[int]:
    """Of whom nothing is left but the row that keeps the chat from coming back: what `erase` makes. A chat of a contact without a
    name that the owner has excluded is none of them."""
    bare = dialogs.c.name == "", dialogs.c.username.is_(None), dialogs.c.mode == "off", dialogs.c.excluded
    query = select(dialogs.c.dialog_id).where(*bare, _NEWEST.scalar_subquery().is_(None), ~_has("account"), ~_has("bot"))
    return {row[0] for row in await connection.execute(query)}


def _has(channel: str) -> ColumnElement[bool]:
    """Messages of this channel."""
    return exists().where(messages.c.channel == channel, messages.c.dialog_id == dialogs.c.dialog_id)


async def shares_name(connection: AsyncConnection, dialog: Dialog) -> bool:
    """Whether another contact, who is not excluded, has the same name."""
    return await SAME_NAME.first(connection, name=dialog.name, which=dialog.dialog_id) is not None


async def advance_watermark(connection: AsyncConnection, dialog_id: int, message_id: int, at: datetime) -> None:
    """Call it in the transaction that saved the messages up to `message_id`."""
    await connection.execute(
        update(dialogs).where(dialogs.c.dialog_id == dialog_id).values(watermark=func.max(dialogs.c.watermark, message_id), collected_at=at)
    )


async def note_undecodable(connection: AsyncConnection, dialog_id: int, version: str) -> None:
    """This version of Telethon cannot read what is new here."""
    await connection.execute(update(dialogs).where(dialogs.c.dialog_id == dialog_id).values(undecodable_with=version))


async def set_mode(connection: AsyncConnection, dialog_id: int, mode: Mode | None) -> None:
    await connection.execute(update(dialogs).where(dialogs.c.dialog_id == dialog_id).values(mode=mode))


async def silence(connection: AsyncConnection, dialog_id: int, until: datetime | None) -> None:
    """The twin holds its tongue here until then; None: it may speak again."""
    await connection.execute(update(dialogs).where(dialogs.c.dialog_id == dialog_id).values(silent_until=until))


async def silent(connection: AsyncConnection, now: datetime) -> dict[int, datetime]:
    """The dialogs that are silent now, and until when."""
    return {row[0]: row[1] for row in await SILENT.rows(connection, now=now)}


async def exclude(connection: AsyncConnection, dialog_id: int, is_excluded: bool) -> None:
    await connection.execute(update(dialogs).where(dialogs.c.dialog_id == dialog_id).values(excluded=is_excluded))


async def record_consent(connection: AsyncConnection, dialog_id: int, event: ConsentEvent, at: datetime, words: str) -> None:
    await connection.execute(consents.insert().values(dialog_id=dialog_id, event=event, at=at, words=words))


async def withdrawn(connection: AsyncConnection, dialog_ids: Iterable[int]) -> list[Dialog]:
    """Those of these chats that may not be used any more: the consent is withdrawn or asked for anew, or the chat is excluded."""
    wanted = set(dialog_ids)
    known = [dialog for dialog in await find(connection) if dialog.dialog_id in wanted]
    return [dialog for dialog in known if dialog.excluded or dialog.consent not in ("given", None)]


async def require_consent(connection: AsyncConnection, dialog_ids: Iterable[int], what: str) -> None:
    """Raises InputError with the contacts' names if `what` holds a chat that may not be used any more."""
    gone = await withdrawn(connection, dialog_ids)
    if gone:
        names = ", ".join(dialog.name or f"the contact {dialog.dialog_id}" for dialog in gone)
        raise InputError(
            f"{what} holds chats that may not be used any more, with: {names}.",
            mend="`twin nightly` trains without them; `twin contacts NAME --consent given` records that they agree again.",
        )


async def consent_log(connection: AsyncConnection, dialog_id: int) -> Sequence[tuple[str, datetime, str]]:
    query = select(consents.c.event, consents.c.at, consents.c.words).where(consents.c.dialog_id == dialog_id).order_by(consents.c.id)
    return [(row[0], row[1], row[2]) for row in await connection.execute(query)]


async def erase(connection: AsyncConnection, dialog_id: int) -> int:
    """Remove a contact and everything they ever wrote or were written; returns the number of messages erased.

    The dialog's row stays, nameless and excluded, so that the next collection does not bring the chat back."""
    gone = (await connection.execute(delete(messages).where(messages.c.dialog_id == dialog_id))).rowcount
    for table in (outbox, drafts, replies_due, consents):
        await connection.execute(delete(table).where(table.c.dialog_id == dialog_id))
    await connection.execute(update(inbox).where(inbox.c.done_at.is_not(None)).values(payload=""))
    await connection.execute(
        update(dialogs).where(dialogs.c.dialog_id == dialog_id).values(name="", username=None, mode="off", excluded=True)
    )
    return gone
