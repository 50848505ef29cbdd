"""The connection to the owner's account: what Telegram says about it is kept, and the owner is told of each change once."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError
from aiogram.types import BusinessBotRights, BusinessConnection
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.context import Twin, utc_now
from bot.telegram import ERRORS
from twin.store import connections, notices
from twin.store.connections import Connection

log = structlog.get_logger()
# What the twin makes use of, in the order in which it is told.
ABILITIES = {
    "can_reply": "answer for you",
    "can_read_messages": "mark messages as read",
    "can_delete_sent_messages": "take my answers back",
}


async def note(connection: AsyncConnection, made: BusinessConnection, now: datetime) -> bool:
    """Keep a connection of the owner's as it is now. True if something about it is new, of which he is told."""
    known = await connections.get(connection, made.id)
    rights = _rights(made.rights)
    if known and known.is_enabled == made.is_enabled and known.rights == rights:
        return False
    await connections.save(connection, made.id, is_enabled=made.is_enabled, rights=rights, connected_at=made.date, at=now)
    line = _line(known, made.is_enabled, rights)
    if line:
        await notices.add(connection, line, now)
    return True


async def look_again(twin: Twin, bot: Bot) -> None:
    """At the start: what has changed about the known connections while the bot was down."""
    async with twin.store.connect() as connection:
        known = await connections.find(connection)
    for one in known:
        try:
            made = await described(bot, one.connection_id)
        except ERRORS as exc:  # whoever uses it will see
            log.warning("connection.unseen", error=type(exc).__name__)
            continue
        async with twin.store.begin() as connection:
            if made and made.user.id == twin.owner_id:
                await note(connection, made, utc_now())
            elif one.is_enabled:
                await _end(connection, one, utc_now())
    log.info("connections.seen", count=len(known))


async def described(bot: Bot, connection_id: str) -> BusinessConnection | None:
    """What Telegram says about a connection; None if it knows none of this id. Raises aiogram's errors."""
    try:
        return await bot.get_business_connection(connection_id)
    except (TelegramBadRequest, TelegramForbiddenError):
        return None


async def _end(connection: AsyncConnection, one: Connection, now: datetime) -> None:
    await connections.save(connection, one.connection_id, is_enabled=False, rights=one.rights, connected_at=one.connected_at, at=now)
    await notices.add(connection, _ended(), now)


def _line(known: Connection | None, is_enabled: bool, rights: dict[str, bool]) -> str | None:
    if not is_enabled:
        return _ended() if known and known.is_enabled else None
    may = [words for right, words in ABILITIES.items() if right in rights]
    may_not = [words for right, words in ABILITIES.items() if right not in rights]
    abilities = f"I may {_listed(may)}." if may else "I may do nothing there yet."
    if may_not:
        abilities += f" I may not {_listed(may_not, 'or')}; you can change that in Telegram, under Business, Chatbots."
    if known is None or not known.is_enabled:
        return f"I am connected to your account. {abilities}"
    return f"What I may do in your account has changed. {abilities}"


def _ended() -> str:
    return "I am not connected to your account any more. I see nothing that is written to you there, and nothing goes out in your name."


def _listed(parts: list[str], last: str = "and") -> str:
    return f" {last} ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _rights(given: BusinessBotRights | None) -> dict[str, bool]:
    named: dict[str, Any] = given.model_dump(exclude_none=True) if given else {}
    return {name: True for name, is_given in named.items() if is_given is True}
