"""The owner's own chats, seen through Telegram Business: the connection itself, what contacts write, what the owner writes by hand,
and the echo of what the twin sent."""

from __future__ import annotations

import structlog
from aiogram import Router
from aiogram.types import BusinessConnection, BusinessMessagesDeleted, Message
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.connecting import note
from bot.context import Twin, utc_now
from bot.guard import OwnersConnection, guard
from bot.incoming import full_name, to_account_message
from bot.once import Once
from twin import replies, sending, takeover
from twin.settings import Settings
from twin.store import dialogs, messages
from twin.turns import Message as Said

log = structlog.get_logger()


async def on_connection(event: BusinessConnection, twin: Twin, once: Once) -> None:
    changed = await once.effect(lambda connection: note(connection, event, utc_now()))
    log.info("connection.noted", is_enabled=event.is_enabled, changed=changed)
    twin.bells.ring()


async def on_business_message(message: Message, twin: Twin, once: Once) -> None:
    said = to_account_message(message, twin.owner_id)
    if said is None:
        return
    take = _echo if message.sender_business_bot else _from_owner if said.out else _from_contact
    what = await once.effect(lambda connection: take(connection, said, message, twin.settings))
    log.info("business.received", what=what, dialog_id=said.dialog_id, message_id=said.message_id)
    twin.bells.ring()


async def _echo(connection: AsyncConnection, said: Said, message: Message, settings: Settings) -> str:
    """What the twin sent itself. One that nobody knows of (an older life, another store) is kept as the twin's words."""
    dialog = await dialogs.get(connection, said.dialog_id)
    if await sending.echo(connection, said.dialog_id, said.message_id, said.text, said.sent_at, settings=settings, now=utc_now()):
        return "echo"
    if dialog and not dialog.excluded:
        await messages.save(connection, [said._replace(source="twin")])
    return "unknown echo"


async def _from_owner(connection: AsyncConnection, said: Said, message: Message, settings: Settings) -> str:
    name, username = _contact(message)
    spoke = await takeover.owner_spoke(connection, said, name=name, username=username, settings=settings, now=utc_now())
    return "takeover" if spoke else "known"


async def _from_contact(connection: AsyncConnection, said: Said, message: Message, settings: Settings) -> str:
    name, username = _contact(message)
    wanted = await replies.receive(connection, said, name=name, username=username, settings=settings, now=utc_now())
    return "message, wanted" if wanted else "message"


async def on_edited_business_message(message: Message, twin: Twin, once: Once) -> None:
    said = to_account_message(message, twin.owner_id)
    if said is None:
        return
    changed = await once.effect(lambda connection: _follow(connection, said, message, twin.settings))
    log.info("business.edited", dialog_id=said.dialog_id, message_id=said.message_id, changed=changed)
    twin.bells.ring()


async def _follow(connection: AsyncConnection, said: Said, message: Message, settings: Settings) -> bool:
    if said.out:
        return await takeover.owner_edited(connection, said, utc_now())
    name, username = _contact(message)
    return await replies.receive_edit(connection, said, name=name, username=username, settings=settings, now=utc_now())


async def on_deleted_business_messages(event: BusinessMessagesDeleted, twin: Twin, once: Once) -> None:
    withdrawn = await once.effect(
        lambda connection: takeover.deleted(connection, "account", event.chat.id, event.message_ids, twin.settings, utc_now())
    )
    log.info("business.deleted", dialog_id=event.chat.id, count=len(event.message_ids), withdrawn=withdrawn)
    twin.bells.ring()


def _contact(message: Message) -> tuple[str, str | None]:
    """The name and username of the person on the other side of the owner's chat."""
    return full_name(message.chat), message.chat.username


def setup(owner_id: int) -> Router:
    router = guard(Router(name="business"), OwnersConnection(owner_id))
    router.business_connection.register(on_connection)
    router.business_message.register(on_business_message)
    router.edited_business_message.register(on_edited_business_message)
    router.deleted_business_messages.register(on_deleted_business_messages)
    return router
