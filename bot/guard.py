"""Who may do what: the owner, in the private chat with the bot, everything; a contact, in a private chat, be read; what comes through
a connection, if it is to the owner's account, be read; nobody else.

Each filter stands on every observer of a whole router (`guard`), so that no handler in it can be without it.
"""

from __future__ import annotations

import structlog
from aiogram import Bot, Router
from aiogram.filters import Filter
from aiogram.types import BusinessConnection, BusinessMessagesDeleted, CallbackQuery, Message, TelegramObject, User

from bot.connecting import described, note
from bot.context import Twin, utc_now
from twin.store import connections

log = structlog.get_logger()


class FromOwner(Filter):
    """The owner himself in his own chat with the bot; never through a group, a channel or an inline message."""

    def __init__(self, owner_id: int) -> None:
        self.owner_id = owner_id

    async def __call__(self, event: TelegramObject) -> bool:
        sender = sender_in_private(event)
        return sender is not None and sender.id == self.owner_id


class FromContact(Filter):
    """A person other than the owner, in a private chat with the bot."""

    def __init__(self, owner_id: int) -> None:
        self.owner_id = owner_id

    async def __call__(self, event: TelegramObject) -> bool:
        sender = sender_in_private(event)
        return sender is not None and sender.id != self.owner_id


class OwnersConnection(Filter):
    """What happens to the owner's account, or in his own chats, through a connection that he made. Whoever else connects the bot to an
    account of theirs is not read: nothing of it is kept, not even that it was there."""

    def __init__(self, owner_id: int) -> None:
        self.owner_id = owner_id
        self.strange: set[str] = set()  # ids of connections that are not the owner's, asked about once

    async def __call__(self, event: TelegramObject, bot: Bot, twin: Twin) -> bool:
        match event:
            case BusinessConnection():
                if event.user.id != self.owner_id:
                    self._turn_away(event.id)
                return event.user.id == self.owner_id
            case Message() | BusinessMessagesDeleted() if event.business_connection_id:
                return event.business_connection_id not in self.strange and await self._is_owners(event.business_connection_id, bot, twin)
            case _:
                return False

    async def _is_owners(self, connection_id: str, bot: Bot, twin: Twin) -> bool:
        async with twin.store.connect() as connection:
            if await connections.get(connection, connection_id):
                return True
        made = await described(bot, connection_id)
        if made is None or made.user.id != self.owner_id:
            self._turn_away(connection_id)
            return False
        async with twin.store.begin() as connection:
            await note(connection, made, utc_now())
        return True

    def _turn_away(self, connection_id: str) -> None:
        self.strange.add(connection_id)
        log.warning("connection.strange", connection_id=connection_id)


def guard(router: Router, allowed: Filter) -> Router:
    """Let only those events through to `router` and to all routers in it, whatever their kind."""
    for observer in router.observers.values():
        observer.filter(allowed)
    return router


def sender_in_private(event: TelegramObject) -> User | None:
    """The person behind a message or a tap, if it happened in that person's own chat with the bot; else None."""
    match event:
        case Message() if event.sender_chat is None and event.business_connection_id is None:
            sender, chat = event.from_user, event.chat
        case CallbackQuery() if event.message is not None:
            sender, chat = event.from_user, event.message.chat
        case _:
            return None
    if sender is None or sender.is_bot or chat.type != "private" or chat.id != sender.id:
        return None
    return sender
