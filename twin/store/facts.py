"""Small facts that survive a restart: one JSON value a name."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store.prepared import Prepared, given
from twin.store.tables import facts

ONE = Prepared(select(facts.c.value).where(facts.c.name == given("which")))


async def get(connection: AsyncConnection, name: str) -> Any:
    """The value, None if there is none."""
    row = await ONE.first(connection, which=name)
    return row and row[0]


async def put(connection: AsyncConnection, name: str, value: Any) -> None:
    statement = insert(facts).values(name=name, value=value)
    await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


async def forget(connection: AsyncConnection, name: str) -> None:
    await connection.execute(delete(facts).where(facts.c.name == name))
