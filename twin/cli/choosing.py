"""Which contact somebody means on the command line."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from twin.contacts import matching, told_apart
from twin.errors import InputError
from twin.store import dialogs
from twin.store.dialogs import Dialog


async def find_contact(connection: AsyncConnection, wanted: str, *, forgotten: bool = False) -> Dialog:
    """By id, @username or name, see `twin.contacts.matching`. `forgotten`: also one of whom nothing is left. Raises InputError."""
    gone = set() if forgotten else await dialogs.forgotten(connection)
    known = [dialog for dialog in await dialogs.find(connection) if dialog.dialog_id not in gone]
    found = matching(known, wanted, await dialogs.strangers(connection))
    if not found:
        raise InputError(f"No contact is {wanted!r}.", mend="`twin contacts` lists them; id, @username and name all work.")
    if len(found) > 1:
        ids = ", ".join(str(dialog.dialog_id) for dialog in found[:8])
        raise InputError(f"{wanted!r} fits {len(found)} contacts: {told_apart(found)}. Nothing was changed.", mend=f"Take the id: {ids}.")
    return found[0]
