"""Faults on demand, as an unmodified client meets them, and the message layer's own refusals."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from mtproto_cast import ANNA, OWNER, NewClient
from telethon import TelegramClient, errors, functions
from telethon.sessions import StringSession

from sandbox.faults import Fault, Faults
from sandbox.mtproto import MtprotoServer
from sandbox.world import World


@pytest.fixture
def ids(world: World) -> list[int]:
    return [world.send(*random.Random(n).choice([(OWNER, ANNA), (ANNA, OWNER)]), f"text {n}").ids[OWNER] for n in range(800)]


async def all_ids(client: TelegramClient) -> list[int]:
    return [m.id async for m in client.iter_messages("anna", reverse=True, wait_time=0)]


async def test_a_short_flood_wait_is_slept_through(ids: list[int], faults: Faults, client: TelegramClient) -> None:
    faults.add(Fault("GetHistory", "flood", 1, skip=3))
    start = time.monotonic()
    assert await all_ids(client) == ids
    assert time.monotonic() - start >= 1


async def test_a_long_flood_wait_is_raised_with_its_seconds(ids: list[int], faults: Faults, client: TelegramClient) -> None:
    faults.add(Fault("GetHistory", "flood", 100))
    with pytest.raises(errors.FloodWaitError) as raised:
        await all_ids(client)
    assert raised.value.seconds == 100


@pytest.mark.parametrize("action", ["drop_before", "drop_after"])
async def test_lost_connections_lose_no_history(action: str, ids: list[int], faults: Faults, client: TelegramClient) -> None:
    faults.add(Fault("GetHistory", action, skip=2, times=5))  # type: ignore[arg-type]
    assert await all_ids(client) == ids
    assert [f.times for f in faults.rules] == [0]


@pytest.mark.parametrize("action", ["drop_before", "drop_after"])
async def test_a_send_whose_connection_is_lost_is_done_once(action: str, world: World, faults: Faults, client: TelegramClient) -> None:
    """Telethon sends the same random_id again; the server answers with the message it has."""
    await client.get_input_entity("anna")
    faults.add(Fault("SendMessage", action))  # type: ignore[arg-type]
    await client.send_message("anna", "once")
    assert [m.text for m in world.history(OWNER, ANNA)] == ["once"]


async def test_error_minus_503_is_retried(ids: list[int], faults: Faults, client: TelegramClient) -> None:
    faults.add(Fault("GetHistory", "error", [-503, "Timeout"]))
    assert await all_ids(client) == ids


async def test_no_reply_hangs_until_the_caller_gives_up(ids: list[int], faults: Faults, client: TelegramClient) -> None:
    """Telethon has no request timeout of its own."""
    await client.get_input_entity("anna")
    faults.add(Fault("GetHistory", "no_reply"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.get_messages("anna"), 0.3)
    assert await all_ids(client) == ids


async def test_a_delayed_answer_comes_later(faults: Faults, client: TelegramClient) -> None:
    faults.add(Fault("GetState", "delay", 0.3))
    start = time.monotonic()
    await client(functions.updates.GetStateRequest())
    assert time.monotonic() - start >= 0.3


async def test_takeout_wraps_calls_and_ends(ids: list[int], server: MtprotoServer, client: TelegramClient) -> None:
    async with client.takeout(users=True) as takeout:
        found = [m.id async for m in takeout.iter_messages("anna", reverse=True, wait_time=0)]
    assert found == ids
    assert {c.takeout_id is not None for c in server.calls if c.name == "GetHistory"} == {True}
    with pytest.raises(errors.TakeoutInvalidError):
        await client(functions.InvokeWithTakeoutRequest(1, functions.updates.GetStateRequest()))


async def test_takeout_may_have_to_wait(faults: Faults, client: TelegramClient) -> None:
    faults.add(Fault("InitTakeoutSession", "error", [420, "TAKEOUT_INIT_DELAY_86400"]))
    with pytest.raises(errors.TakeoutInitDelayError) as raised:
        async with client.takeout(users=True):
            pass
    assert raised.value.seconds == 86_400


async def test_a_restart_in_the_middle_of_an_iteration(ids: list[int], server: MtprotoServer, new_client: NewClient) -> None:
    client = await new_client(connection_retries=None)
    found = []
    async for message in client.iter_messages("anna", reverse=True, wait_time=0):
        found.append(message.id)
        if len(found) == 250:
            await server.stop()
            await server.start(server.port)
    assert found == ids


@pytest.mark.parametrize("skew", [-400, 60])
async def test_clocks_that_differ_are_adjusted(skew: int, server: MtprotoServer, new_client: NewClient) -> None:
    """bad_msg_notification 16 and 17: an existing key's client learns the server's time from them."""
    session = server.session_string(OWNER)
    server.clock_skew = skew
    client = TelegramClient(StringSession(session), 1, "hash")
    await client.connect()
    assert (await client.get_me()).id == OWNER
    await client.disconnect()


async def test_a_changed_salt_is_taken_over(server: MtprotoServer, client: TelegramClient) -> None:
    server.salt += 1
    assert (await client.get_me()).id == OWNER


async def test_a_bug_of_ours_is_500_and_recorded(server: MtprotoServer, new_client: NewClient, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await new_client(request_retries=0, raise_last_call_error=True)
    monkeypatch.setattr(server.views, "column", lambda *_: 1 / 0)
    with pytest.raises(errors.ServerError):
        await client.get_messages("anna")
    assert [type(error) for error in server.errors] == [ZeroDivisionError]
    server.errors.clear()
