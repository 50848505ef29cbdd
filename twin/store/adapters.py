"""Adapters: what was trained, from what, and the one pointer to the active one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.errors import InputError
from twin.store import dialogs
from twin.store.tables import adapter_dialogs, adapters


@dataclass(frozen=True)
class Adapter:
    name: str
    path: Path
    base_model: str
    parent: str | None
    dataset_hash: str
    state: Literal["candidate", "active", "retired"]
    metrics: dict[str, Any]
    created_at: datetime
    promoted_at: datetime | None


COLUMNS = tuple(getattr(adapters.c, name) for name in Adapter.__dataclass_fields__)


async def add(
    connection: AsyncConnection,
    *,
    name: str,
    path: Path,
    base_model: str,
    parent: str | None,
    dataset_hash: str,
    metrics: dict[str, Any],
    dialog_ids: Iterable[int],
    at: datetime,
) -> None:
    """Register a sealed adapter folder as a candidate. Registering the same name again changes nothing."""
    if await get(connection, name):
        return
    await connection.execute(
        adapters.insert().values(
            name=name,
            path=str(path),
            base_model=base_model,
            parent=parent,
            dataset_hash=dataset_hash,
            state="candidate",
            metrics=metrics,
            created_at=at,
        )
    )
    rows = [{"adapter": name, "dialog_id": dialog_id} for dialog_id in sorted(set(dialog_ids))]
    if rows:
        await connection.execute(adapter_dialogs.insert(), rows)


async def find(connection: AsyncConnection) -> list[Adapter]:
    """All, oldest first."""
    rows = await connection.execute(select(*COLUMNS).order_by(adapters.c.created_at, adapters.c.name))
    return [Adapter(row[0], Path(row[1]), *row[2:]) for row in rows]


async def get(connection: AsyncConnection, name: str) -> Adapter | None:
    return next((a for a in await find(connection) if a.name == name), None)


async def active(connection: AsyncConnection) -> Adapter | None:
    return next((a for a in await find(connection) if a.state == "active"), None)


async def promote(connection: AsyncConnection, name: str, at: datetime) -> None:
    """Make this adapter the active one; the one before retires. One transaction, so there is never none and never two.

    Raises InputError if there is none of this name, or if it learned from a chat whose consent is withdrawn."""
    if not await get(connection, name):
        raise InputError(f"There is no adapter named {name}.", mend="`twin adapters` lists them.")
    await require_consent(connection, name)
    await connection.execute(update(adapters).where(adapters.c.state == "active").values(state="retired"))
    await connection.execute(update(adapters).where(adapters.c.name == name).values(state="active", promoted_at=at))


async def rollback(connection: AsyncConnection) -> Adapter | None:
    """Back to the adapter that was active before (None: to the base model). One that learned from a chat whose consent is withdrawn is
    passed over: whatever holds it, there is a way back.

    Raises InputError if none is active."""
    known = await find(connection)
    now = next((a for a in known if a.state == "active"), None)
    if now is None:
        raise InputError("No adapter is active, so there is nothing to go back from.", mend="`twin adapters` lists them.")
    earlier = [a for a in known if a.state == "retired" and a.promoted_at and now.promoted_at and a.promoted_at < now.promoted_at]
    usable = [a for a in earlier if await _may_be_used(connection, a.name)]
    back = max(usable, key=lambda a: a.promoted_at or a.created_at, default=None)
    await connection.execute(update(adapters).where(adapters.c.name == now.name).values(state="retired", promoted_at=None))
    if back:
        await connection.execute(update(adapters).where(adapters.c.name == back.name).values(state="active"))
    return back


async def retire(connection: AsyncConnection, name: str) -> None:
    """A candidate that the owner does not want; another state is left as it is."""
    await connection.execute(update(adapters).where(adapters.c.name == name, adapters.c.state == "candidate").values(state="retired"))


async def record_metrics(connection: AsyncConnection, name: str, metrics: dict[str, Any]) -> None:
    await connection.execute(update(adapters).where(adapters.c.name == name).values(metrics=metrics))


async def learned_from(connection: AsyncConnection, name: str) -> list[int]:
    """The dialogs that this adapter learned from."""
    query = select(adapter_dialogs.c.dialog_id).where(adapter_dialogs.c.adapter == name).order_by(adapter_dialogs.c.dialog_id)
    return list((await connection.execute(query)).scalars())


async def require_consent(connection: AsyncConnection, name: str) -> None:
    """Raises InputError if this adapter learned from a chat that may not be used any more."""
    await dialogs.require_consent(connection, await learned_from(connection, name), f"Adapter {name}")


async def _may_be_used(connection: AsyncConnection, name: str) -> bool:
    try:
        await require_consent(connection, name)
    except InputError:
        return False
    return True


async def carrying(connection: AsyncConnection, dialog_id: int) -> list[str]:
    """Names of the adapters that learned from this dialog."""
    query = select(adapter_dialogs.c.adapter).where(adapter_dialogs.c.dialog_id == dialog_id).order_by(adapter_dialogs.c.adapter)
    return list((await connection.execute(query)).scalars())
