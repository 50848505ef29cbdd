"""A sandbox server over a socket and an owner's settings that point at it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.faults import Faults
from sandbox.mtproto import MtprotoServer
from sandbox.samples import OWNER_ID, Sample
from sandbox.world import Account, World
from trainer.collect import CollectReport, collect
from trainer.session import session_path
from twin import sealing
from twin.progress import Progress, silent
from twin.settings import Settings, load_settings
from twin.store import facts, notices, open_store, tables

KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="  # base64 of 0123456789abcdef, twice


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[MtprotoServer]:
    """Fails if the server met a bug of its own or a method that it does not offer."""
    server = MtprotoServer(world, Faults())
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
    assert server.errors == []
    assert server.unhandled == []


def settings_for(folder: Path, server: MtprotoServer, /, *, key: str | None = KEY, **telegram: Any) -> Settings:
    pem = folder / "server.pem"
    pem.write_text(server.public_key_pem)
    given = {"server": f"127.0.0.1:{server.port}", "server_key": pem, "call_seconds": 20.0, **telegram}
    return load_settings(None, data=folder / "data", secret_key=key, telegram=given)


def keep_session(settings: Settings, server: MtprotoServer, account_id: int) -> None:
    """What `sign_in` leaves behind."""
    string = server.session_string(account_id)
    sealing.write_private(session_path(settings), sealing.seal(string.encode(), settings.secret_key))


def signed_in(folder: Path, server: MtprotoServer, account_id: int, /, **telegram: Any) -> Settings:
    settings = settings_for(folder, server, **telegram)
    keep_session(settings, server, account_id)
    return settings


def calls(server: MtprotoServer, name: str) -> list[Any]:
    """The requests of this name that reached the server."""
    return [call.request for call in server.calls if call.name == name]


async def arrived(server: MtprotoServer, name: str, count: int) -> None:
    """Wait until so many requests of this name have reached the server."""
    deadline = time.monotonic() + 30
    while (found := len(calls(server, name))) < count:
        assert time.monotonic() < deadline, f"{found} of {count}"
        await asyncio.sleep(0.005)


def on_server(world: World, owner_id: int, contact_ids: Any) -> set[tuple[int, int, str, bool, int]]:
    """(dialog id, message id, text, out, unix seconds) of every message the owner's account has with these contacts."""
    return {
        (contact, m.ids[owner_id], m.text, m.sender_id == owner_id, m.date)
        for contact in contact_ids
        for m in world.history(owner_id, contact)
    }


async def in_store(store: AsyncEngine) -> list[Any]:
    """Every row that is not marked deleted, by dialog and id."""
    t = tables.messages
    async with store.connect() as connection:
        return list(await connection.execute(select(t).where(t.c.deleted_at.is_(None)).order_by(t.c.dialog_id, t.c.message_id)))


def keys(rows: list[Any]) -> list[tuple[int, int, str, bool, int]]:
    """The rows in the form of `on_server`."""
    return [(r.dialog_id, r.message_id, r.text, r.out, int(r.sent_at.timestamp())) for r in rows]


async def run(settings: Settings, progress: Progress = silent, *, now: datetime | None = None) -> CollectReport:
    """One collection, as `twin collect` does it."""
    store = open_store(settings.store_path)
    try:
        return await collect(store, settings, progress, now=now)
    finally:
        await store.dispose()


async def rows_of(settings: Settings) -> list[Any]:
    store = open_store(settings.store_path)
    try:
        return await in_store(store)
    finally:
        await store.dispose()


def chatty_world(contacts: int, each: int) -> tuple[World, Sample]:
    """Owner and contacts in turns, so that ids of the chats interleave; all of it a month old."""
    world = World()
    world.add_account(Account(OWNER_ID, "Olga", phone="+10000000001"))
    ids = tuple(OWNER_ID + 1 + i for i in range(contacts))
    for contact in ids:
        world.add_account(Account(contact, f"Contact {contact}"))
    start = int(time.time()) - 30 * 86_400
    for i in range(each):
        for contact in ids:
            sender, to = (OWNER_ID, contact) if i % 3 else (contact, OWNER_ID)
            world.send(sender, to, f"line {i} of {contact}", date=start + i, silent=True)
    return world, Sample(OWNER_ID, ids, contacts * each)


async def fact(settings: Settings, name: str) -> Any:
    store = open_store(settings.store_path)
    async with store.connect() as connection:
        found = await facts.get(connection, name)
    await store.dispose()
    return found


async def set_fact(settings: Settings, name: str, value: Any) -> None:
    store = open_store(settings.store_path)
    async with store.begin() as connection:
        await facts.put(connection, name, value)
    await store.dispose()


async def told(settings: Settings) -> list[str]:
    """What the owner is to be told."""
    store = open_store(settings.store_path)
    async with store.connect() as connection:
        found = [notice.text for notice in await notices.untold(connection)]
    await store.dispose()
    return found
