"""The owner's own chats, seen through Telegram Business: the connection itself, what contacts write, what the owner writes by hand,
and the echo of what the twin sent."""

from __future__ import annotations

import structlog
from aiogram import Router
from aiogram.types import BusinessConnection, BusinessMessagesDeleted, Message

from bot.connecting import note
from bot.context import Twin, utc_now
from bot.guard import OwnersConnection, guard
from bot.incoming import to_account_message
from twin import replies, sending, takeover
from twin.store import dialogs, messages
from twin.turns import Message as Said

log = structlog.get_logger()


async def on_connection(event: BusinessConnection, twin: Twin) -> None:
    async with twin.store.begin() as connection:
        changed = await note(connection, event, utc_now())
    log.info("connection.noted", is_enabled=event.is_enabled, changed=changed)
    twin.bells.ring()


async def on_business_message(message: Message, twin: Twin) -> None:
    said = to_account_message(message, twin.owner_id)
    if said is None:
        return
    if message.sender_business_bot:
        what = await _echo(said, twin)
    elif said.out:
        what = await _from_owner(said, message, twin)
    else:
        what = await _from_contact(said, message, twin)
    log.info("business.received", what=what, dialog_id=said.dialog_id, message_id=said.message_id)
    twin.bells.ring()


async def _echo(said: Said, twin: Twin) -> str:
    """What the twin sent itself. One that nobody knows of (an older life, another store) is kept as the twin's words."""
    async with twin.store.begin() as connection:
        dialog = await dialogs.get(connection, said.dialog_id)
        where = said.dialog_id, said.message_id
        if await sending.echo(connection, *where, said.text, said.sent_at, settings=twin.settings, now=utc_now()):
            return "echo"
        if dialog and not dialog.excluded:
            await messages.save(connection, [said._replace(source="twin")])
    return "unknown echo"


async def _from_owner(said: Said, message: Message, twin: Twin) -> str:
    name, username = _contact(message)
    async with twin.store.begin() as connection:
        spoke = await takeover.owner_spoke(connection, said, name=name, username=username, settings=twin.settings, now=utc_now())
    return "takeover" if spoke else "known"


async def _from_contact(said: Said, message: Message, twin: Twin) -> str:
    name, username = _contact(message)
    async with twin.store.begin() as connection:
        wanted = await replies.receive(connection, said, name=name, username=username, settings=twin.settings, now=utc_now())
    return "message, wanted" if wanted else "message"


async def on_edited_business_message(message: Message, twin: Twin) -> None:
    said = to_account_message(message, twin.owner_id)
    if said is None:
        return
    name, username = _contact(message)
    async with twin.store.begin() as connection:
        if said.out:
            changed = await takeover.owner_edited(connection, said, utc_now())
        else:
            changed = await replies.receive_edit(connection, said, name=name, username=username, settings=twin.settings, now=utc_now())
    log.info("business.edited", dialog_id=said.dialog_id, message_id=said.message_id, changed=changed)
    twin.bells.ring()


async def on_deleted_business_messages(event: BusinessMessagesDeleted, twin: Twin) -> None:
    async with twin.store.begin() as connection:
        withdrawn = await takeover.deleted(connection, "account", event.chat.id, event.message_ids, twin.settings, utc_now())
    log.info("business.deleted", dialog_id=event.chat.id, count=len(event.message_ids), withdrawn=withdrawn)
    twin.bells.ring()


def _contact(message: Message) -> tuple[str, str | None]:
    """The name and username of the person on the other side of the owner's chat."""
    return (message.chat.full_name or "").strip() or message.chat.username or "", message.chat.username


def setup(owner_id: int) -> Router:
    router = guard(Router(name="business"), OwnersConnection(owner_id))
    router.business_connection.register(on_connection)
    router.business_message.register(on_business_message)
    router.edited_business_message.register(on_edited_business_message)
    router.deleted_business_messages.register(on_deleted_business_messages)
    return router
