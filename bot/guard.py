"""Who may do what: the owner, in the private chat with the bot, everything; a contact, in a private chat, be read; nobody else.

Each filter stands on every observer of a whole router (`guard`), so that no handler in it can be without it.
"""

from __future__ import annotations

from aiogram import Router
from aiogram.filters import Filter
from aiogram.types import CallbackQuery, Message, TelegramObject, User


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
