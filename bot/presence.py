"""When the owner was last seen: whatever he taps or writes to the bot is a sign of him. Digests tell what happened without him."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiogram.types import TelegramObject

from bot.context import Twin, utc_now
from twin import digest


async def note_owner(
    handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]], event: TelegramObject, data: dict[str, Any]
) -> Any:
    """A middleware of the owner's router: it stands behind the guard, so nobody else is noted."""
    twin: Twin = data["twin"]
    async with twin.store.begin() as connection:
        await digest.seen(connection, utc_now())
    return await handler(event, data)
