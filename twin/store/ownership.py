"""Whose chats the store has. They are of one account: the contact's words of one would become the owner's of another."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from twin.errors import InputError
from twin.store import facts

ACCOUNT = "account"  # the fact: the account's id, written with the first messages


async def account(connection: AsyncConnection) -> int | None:
    """None: of nobody yet."""
    found: int | None = await facts.get(connection, ACCOUNT)
    return found


async def require(connection: AsyncConnection, account_id: int, what: str, *, mend: str) -> None:
    """Raises InputError if the store has the chats of another account than `what`, a session or a setting."""
    owner = await account(connection)
    if owner not in (None, account_id):
        raise InputError(
            f"The store has the chats of account {owner}, and {what} is of account {account_id}. Nothing was changed.", mend=mend
        )


async def claim(connection: AsyncConnection, account_id: int) -> None:
    """From here on the store is this account's."""
    if await account(connection) != account_id:
        await facts.put(connection, ACCOUNT, account_id)
