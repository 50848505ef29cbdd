"""What contacts write. They are read and may be answered through a card; they command nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from aiogram import F, Router
from aiogram.filters import Command
from aiogram.types import Message

from bot.context import Twin, utc_now
from bot.guard import FromContact, guard
from bot.incoming import full_name, to_message
from bot.once import Once
from bot.words import PRIVACY
from twin import replies

log = structlog.get_logger()
Receive = Callable[..., Awaitable[bool]]
IS_COMMAND = F.text.regexp(r"^/[A-Za-z0-9_]+(@\w+)?(\s|$)")


async def on_privacy(message: Message) -> None:
    await message.answer(PRIVACY)


async def on_command(message: Message) -> None:
    """Commands, /start included, are for the owner: no words to keep, nothing to answer."""
    log.info("command.ignored", dialog_id=message.chat.id)


async def on_message(message: Message, twin: Twin, once: Once) -> None:
    wanted = await _take(replies.receive, message, twin, once)
    log.info("message.received", dialog_id=message.chat.id, message_id=message.message_id, wanted=wanted)


async def on_edited(message: Message, twin: Twin, once: Once) -> None:
    wanted = await _take(replies.receive_edit, message, twin, once)
    log.info("message.edited", dialog_id=message.chat.id, message_id=message.message_id, wanted=wanted)


async def _take(receive: Receive, message: Message, twin: Twin, once: Once) -> bool:
    """Take in what a contact wrote; True if an answer is due."""
    sender = message.from_user
    assert sender  # the router's guard has looked
    said, name = to_message(message), full_name(sender)
    wanted = await once.effect(
        lambda connection: receive(connection, said, name=name, username=sender.username, settings=twin.settings, now=utc_now())
    )
    twin.bells.due.set()
    twin.bells.desk.set()
    return wanted


def setup(owner_id: int) -> Router:
    router = guard(Router(name="contacts"), FromContact(owner_id))
    router.message.register(on_privacy, Command("privacy"))
    router.message.register(on_command, IS_COMMAND)
    router.message.register(on_message)
    router.edited_message.register(on_edited, ~IS_COMMAND)
    return router
