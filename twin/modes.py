"""The mode that a contact is in: the contact's own, or the default for everybody."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from twin.settings import Settings
from twin.store import facts
from twin.store.dialogs import Dialog, Mode

FACT = "default mode"  # what the owner chose in the chat wins over the settings


async def default(connection: AsyncConnection, settings: Settings) -> Mode:
    chosen: Mode | None = await facts.get(connection, FACT)
    return chosen or settings.bot.default_mode


async def effective(connection: AsyncConnection, dialog: Dialog | None, settings: Settings) -> Mode:
    return (dialog and dialog.mode) or await default(connection, settings)
