"""kurigram, which shares no code with Telethon or with this server, agrees: this is a server and not a mirror of one library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pyrogram
import pytest
from mtproto_cast import ANNA, BEN, BOT, OWNER
from pyrogram import Client, enums, errors, filters, handlers
from pyrogram.connection import Connection
from pyrogram.crypto import rsa

from sandbox.faults import Fault, Faults
from sandbox.mtproto import MtprotoServer
from sandbox.world import Media, Pressed, World


@pytest.fixture
async def clients(server: MtprotoServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Makes kurigram clients that can dial nothing but the server, whatever data centre they have in mind."""
    key = server.rsa_key
    monkeypatch.setitem(rsa.server_public_keys, key.fingerprint, rsa.PublicKey(key.modulus, key.exponent))

    class Loopback(Connection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options | {"server_address": "127.0.0.1", "port": server.port})

    made: list[Client] = []

    async def make() -> Client:
        client = Client(f"client{len(made)}", api_id=1, api_hash="hash", in_memory=True, connection_factory=Loopback)
        made.append(client)
        await client.connect()
        return client

    yield make
    for client in made:
        if client.is_initialized:
            await client.terminate()
        if client.is_connected:
            await client.disconnect()


async def sign_in(client: Client, server: MtprotoServer, phone: str) -> Any:
    sent = await client.send_phone_number_code(phone)
    return await client.sign_in(phone, sent.phone_code_hash, server.login_code(phone))


async def test_signs_in_by_code(clients: Any, server: MtprotoServer) -> None:
    client = await clients()
    sent = await client.send_phone_number_code("+9990001")
    with pytest.raises(errors.PhoneCodeInvalid):
        await client.sign_in("+9990001", sent.phone_code_hash, "00000")
    me = await client.sign_in("+9990001", sent.phone_code_hash, "12345")
    assert (me.id, me.username) == (OWNER, "olga")
    assert (await client.get_me()).id == OWNER


async def test_password_by_srp(clients: Any, server: MtprotoServer) -> None:
    client = await clients()
    with pytest.raises(errors.SessionPasswordNeeded):
        await sign_in(client, server, "+9990003")
    with pytest.raises(errors.PasswordHashInvalid):
        await client.check_password("wrong horse")
    assert (await client.check_password("correct horse")).id == BEN


async def test_dialogs_history_and_kinds_of_messages(clients: Any, server: MtprotoServer, world: World) -> None:
    for n in range(230):
        world.send(*((OWNER, ANNA) if n % 3 else (ANNA, OWNER)), f"text {n}")
    question = world.history(OWNER, ANNA)[-1]
    world.send(ANNA, OWNER, "bold reply", entities=[{"type": "bold", "offset": 0, "length": 4}], reply_to=question.uid)
    world.send(ANNA, OWNER, "a picture", media=Media("photo", b"jpeg", width=10, height=10))
    world.send(ANNA, OWNER, "", media=Media("voice", b"opus", duration=3))
    world.send(ANNA, OWNER, "", service="phone_call")
    world.send(BEN, OWNER, "hi")
    client = await clients()
    await sign_in(client, server, "+9990001")
    dialogs = [d async for d in client.get_dialogs()]
    assert [(d.chat.id, d.top_message.text) for d in dialogs] == [(BEN, "hi"), (ANNA, None)]
    messages = [m async for m in client.get_chat_history(ANNA)]
    assert [m.id for m in messages] == list(range(234, 0, -1))
    assert [m.id async for m in client.get_chat_history(ANNA, min_id=100, max_id=120, reverse=True)] == list(range(100, 121))
    call, voice, photo, reply, last = messages[:5]
    assert call.service is not None
    assert voice.voice.duration == 3
    assert (photo.caption, photo.photo.width) == ("a picture", 10)
    assert (reply.reply_to_message_id, reply.entities[0].type) == (230, enums.MessageEntityType.BOLD)
    assert (last.outgoing, last.from_user.id, last.text) == (True, OWNER, "text 229")


async def test_sends_edits_deletes_and_receives(clients: Any, server: MtprotoServer, world: World) -> None:
    world.send(ANNA, OWNER, "hi")
    client = await clients()
    await sign_in(client, server, "+9990001")
    received: asyncio.Queue[Any] = asyncio.Queue()

    async def remember(_: Client, message: Any) -> None:
        received.put_nowait(message)

    client.add_handler(handlers.MessageHandler(remember, filters.incoming))
    client.add_handler(handlers.EditedMessageHandler(remember))
    client.add_handler(handlers.DeletedMessagesHandler(remember))
    await client.initialize()
    sent = await client.send_message("anna", "from kurigram")
    assert (sent.id, world.history(OWNER, ANNA)[-1].text) == (2, "from kurigram")
    assert (await client.edit_message_text(ANNA, sent.id, "edited")).text == "edited"
    await client.delete_messages(ANNA, sent.id)
    assert [m.text for m in world.history(OWNER, ANNA)] == ["hi"]
    push = world.send(ANNA, OWNER, "a push")
    assert (await asyncio.wait_for(received.get(), 5)).text == "a push"
    world.edit(push, text="a push, edited")
    assert (await asyncio.wait_for(received.get(), 5)).text == "a push, edited"
    world.delete([push])
    assert [m.id for m in await asyncio.wait_for(received.get(), 5)] == [3]


async def test_talks_to_a_bot(clients: Any, server: MtprotoServer, world: World) -> None:
    client = await clients()
    await sign_in(client, server, "+9990002")
    await client.send_message("twin_bot", "/start")
    world.send(BOT, ANNA, "Shall I?", reply_markup={"inline_keyboard": [[{"text": "Send", "callback_data": "send:1"}]]})
    world.subscribe(lambda e: world.answer_press(e.press.id, "pressed") if isinstance(e, Pressed) else None)
    message = await anext(client.get_chat_history("twin_bot", limit=1))
    assert message.from_user.is_bot
    answer = await client.request_callback_answer("twin_bot", message.id, "send:1")
    assert answer.message == "pressed"


async def test_meets_faults(clients: Any, server: MtprotoServer, world: World, faults: Faults) -> None:
    world.send(ANNA, OWNER, "hi")
    client = await clients()
    await sign_in(client, server, "+9990001")
    faults.add(Fault("GetHistory", "flood", 100))
    with pytest.raises(errors.FloodWait):
        _ = [m async for m in client.get_chat_history("anna")]
    server.revoke(OWNER)
    with pytest.raises(errors.AuthKeyUnregistered):
        await client.get_me()


def test_this_is_the_client_that_the_facts_are_about() -> None:
    assert pyrogram.__version__ == "2.2.26"
