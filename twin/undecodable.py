"""Chats in which Telegram sends something that the library cannot read: left from there on until the library is another, told once."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from twin.errors import UndecodableError
from twin.store import dialogs, notices


async def note(connection: AsyncConnection, dialog_id: int, error: UndecodableError, now: datetime) -> bool:
    """False if that is known of this version of the library. Asked again each night, the chat would fail each night."""
    dialog = await dialogs.get(connection, dialog_id)
    if dialog is None or dialog.undecodable_with == error.library:
        return False
    await dialogs.note_undecodable(connection, dialog_id, error.library)
    line = (
        f"I cannot read what is new in the chat with {dialog.name or dialog.dialog_id}: Telegram sent something that my library"
        f" ({error.library}) does not know. I leave that chat until the library is updated; all others are read."
    )
    await notices.add(connection, line, now)
    return True
