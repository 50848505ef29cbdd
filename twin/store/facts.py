"""Small facts that survive a restart: one JSON value a name."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import delete
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store.driver import run_at_once, transaction_cache
from twin.store.tables import facts

ALL = "SELECT name, value FROM facts"


async def get(connection: AsyncConnection, name: str) -> Any:
    """The value, None if there is none. An answer asks for some ten, so all are read with the first one of a transaction."""
    known = transaction_cache(connection)
    if ALL not in known:
        known[ALL] = dict(run_at_once(connection, ALL, ()).fetchall())
    value = known[ALL].get(name)
    return json.loads(value) if isinstance(value, str) else value  # SQLite makes a number of a number


async def put(connection: AsyncConnection, name: str, value: Any) -> None:
    transaction_cache(connection).pop(ALL, None)
    statement = insert(facts).values(name=name, value=value)
    await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


async def forget(connection: AsyncConnection, name: str) -> None:
    transaction_cache(connection).pop(ALL, None)
    await connection.execute(delete(facts).where(facts.c.name == name))
