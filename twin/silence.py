"""Silence: nothing goes out. Everywhere from /pause to /resume; in one dialog for a while after the owner has written there himself.

Messages are kept all the same. What waited is drafted when the silence ends, if it still is the newest.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store import dialogs, facts

FACT = "silence"


async def since(connection: AsyncConnection) -> datetime | None:
    """When /pause was said; None while the twin may speak."""
    found = await facts.get(connection, FACT)
    return datetime.fromisoformat(found["since"]) if found else None


async def begin(connection: AsyncConnection, now: datetime) -> bool:
    """False if it was silent already."""
    if await since(connection):
        return False
    await facts.put(connection, FACT, {"since": now.isoformat()})
    return True


async def end(connection: AsyncConnection) -> bool:
    """False if it was not silent."""
    if not await since(connection):
        return False
    await facts.forget(connection, FACT)
    return True


async def until(connection: AsyncConnection, dialog_id: int, now: datetime) -> datetime | None:
    """The end of this dialog's own silence, if it lies ahead."""
    dialog = await dialogs.get(connection, dialog_id)
    return dialog.silent_until if dialog and dialog.silent_until and dialog.silent_until > now else None
