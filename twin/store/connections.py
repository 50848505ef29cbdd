"""Business connections of the owner's account: whether the bot may answer there, and what else it may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store.prepared import Prepared, given
from twin.store.tables import connections


@dataclass(frozen=True)
class Connection:
    """`rights` are the Bot API's BusinessBotRights, such as can_reply; a missing one is not given."""

    connection_id: str
    is_enabled: bool
    rights: dict[str, bool]
    connected_at: datetime
    changed_at: datetime

    def may(self, right: str) -> bool:
        return self.is_enabled and self.rights.get(right, False)


COLUMNS = tuple(getattr(connections.c, name) for name in Connection.__dataclass_fields__)
ONE = Prepared(select(*COLUMNS).where(connections.c.connection_id == given("which")))
CURRENT = Prepared(
    select(*COLUMNS).where(connections.c.is_enabled).order_by(connections.c.changed_at.desc(), connections.c.connected_at.desc()).limit(1)
)


async def save(
    connection: AsyncConnection, connection_id: str, *, is_enabled: bool, rights: Mapping[str, bool], connected_at: datetime, at: datetime
) -> None:
    """Note a connection as Telegram describes it now."""
    row = {"is_enabled": is_enabled, "rights": {name: True for name, given in rights.items() if given}, "changed_at": at}
    statement = insert(connections).values(connection_id=connection_id, connected_at=connected_at, **row)
    await connection.execute(statement.on_conflict_do_update(index_elements=["connection_id"], set_=row))


async def get(connection: AsyncConnection, connection_id: str) -> Connection | None:
    row = await ONE.first(connection, which=connection_id)
    return Connection(*row) if row else None


async def current(connection: AsyncConnection) -> Connection | None:
    """The newest enabled one: Telegram lets one bot be connected to an account at a time."""
    row = await CURRENT.first(connection)
    return Connection(*row) if row else None


async def find(connection: AsyncConnection) -> list[Connection]:
    """All of them, the newest change last."""
    rows = await connection.execute(select(*COLUMNS).order_by(connections.c.changed_at, connections.c.connection_id))
    return [Connection(*tuple[Any, ...](row)) for row in rows]
