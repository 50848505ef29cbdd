"""A small world, an MTProto server on it that must end without errors, and Telethon clients that end with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from mtproto_cast import ANNA, BEN, BOT, OWNER, NewClient
from telethon import TelegramClient
from telethon.crypto import rsa
from telethon.network import ConnectionTcpFull
from telethon.sessions import MemorySession, StringSession

from sandbox.faults import Faults
from sandbox.mtproto import MtprotoServer
from sandbox.world import Account, World


@pytest.fixture
def world() -> World:
    """The owner, two contacts and a bot; nothing has been written yet."""
    world = World()
    world.add_account(Account(OWNER, "Olga", "Owner", username="olga", phone="+9990001"))
    world.add_account(Account(ANNA, "Anna", username="anna", phone="+9990002"))
    world.add_account(Account(BEN, "Ben", phone="+9990003", password="correct horse"))
    world.add_account(Account(BOT, "Twin", username="twin_bot", is_bot=True, token="3000:test"))
    return world


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def server(world: World, faults: Faults) -> AsyncIterator[MtprotoServer]:
    """Fails the test if the server met an exception of its own or a method that it does not offer."""
    server = MtprotoServer(world, faults)
    rsa.add_key(server.public_key_pem, old=False)
    await server.start()
    yield server
    await server.stop()
    for error in server.errors:
        raise error
    assert server.unhandled == []


@pytest.fixture
async def new_client(server: MtprotoServer) -> AsyncIterator[NewClient]:
    """Makes connected clients. `signed_in=None` starts without an account."""
    clients: list[TelegramClient] = []

    async def make(signed_in: int | None = OWNER, *, connection: Any = ConnectionTcpFull, **options: Any) -> TelegramClient:
        session: Any = MemorySession()
        if signed_in is not None:
            session = StringSession(server.session_string(signed_in))
        else:
            session.set_dc(2, "127.0.0.1", server.port)
        client = TelegramClient(session, 1, "hash", connection=connection, retry_delay=0, **options)
        clients.append(client)
        await client.connect()
        return client

    yield make
    for client in clients:
        await client.disconnect()


@pytest.fixture
async def client(new_client: NewClient) -> TelegramClient:
    """The owner's."""
    return await new_client()
