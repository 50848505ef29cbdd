"""Live updates, catching up after an absence, and updates that come twice or out of order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mtproto_cast import ANNA, BEN, OWNER, NewClient
from telethon import TelegramClient, errors, events, functions, types
from telethon.sessions import SQLiteSession, StringSession

from sandbox.faults import Fault, Faults
from sandbox.mtproto import MtprotoServer
from sandbox.world import Group, World


async def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for a condition; the assertion after the call tells what was missed."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not holds() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - clients set no event
        await asyncio.sleep(0.01)


def collect(client: TelegramClient, *kinds: Any) -> list[Any]:
    seen: list[Any] = []

    async def remember(event: Any) -> None:
        seen.append(event)

    for kind in kinds:
        client.add_event_handler(remember, kind)
    return seen


async def test_messages_edits_and_deletions_are_pushed(world: World, client: TelegramClient) -> None:
    new, edited = collect(client, events.NewMessage), collect(client, events.MessageEdited)
    deleted = collect(client, events.MessageDeleted)
    message = world.send(ANNA, OWNER, "hello")
    world.edit(message, text="hello!")
    world.delete([message])
    await until(lambda: bool(new and edited and deleted))
    assert (new[0].sender_id, new[0].is_private, new[0].message.out) == (ANNA, True, False)
    assert edited[0].text == "hello!"
    assert (deleted[0].deleted_ids, deleted[0].chat_id) == ([1], None)


async def test_typing_and_reading_are_pushed(world: World, client: TelegramClient, new_client: NewClient) -> None:
    anna = await new_client(ANNA)
    typing = collect(client, events.UserUpdate)
    read = collect(client, events.MessageRead)
    await client.send_message("anna", "seen?")
    async with anna.action("olga", "typing"):
        await until(lambda: bool(typing))
    assert typing[0].typing
    assert typing[0].user_id == ANNA
    await anna.send_read_acknowledge("olga")
    await until(lambda: bool(read))
    assert (read[0].chat_id, read[0].max_id, read[0].outbox) == (ANNA, 1, True)


async def test_an_own_send_is_pushed_to_the_other_sessions_only(client: TelegramClient, new_client: NewClient) -> None:
    other = await new_client()
    here, there = collect(client, events.NewMessage), collect(other, events.NewMessage)
    await client.send_message("anna", "from one device")
    await until(lambda: bool(there))
    assert there[0].message.out
    assert here == []


async def test_a_session_without_updates_gets_none(world: World, server: MtprotoServer, new_client: NewClient) -> None:
    quiet = await new_client(receive_updates=False)
    await quiet.get_me()
    seen = collect(quiet, events.NewMessage)
    loud = await new_client()
    heard = collect(loud, events.NewMessage)
    world.send(ANNA, OWNER, "hello")
    await until(lambda: bool(heard))
    assert seen == []


async def test_groups_push_to_their_members(world: World, client: TelegramClient) -> None:
    world.add_group(Group(7001, "Family", "basic_group", {OWNER, ANNA}))
    world.add_group(Group(7002, "Climbers", "group", {OWNER, ANNA}))
    world.add_group(Group(7003, "Not mine", "group", {ANNA, BEN}))
    new = collect(client, events.NewMessage)
    for group in (7001, 7002, 7003):
        world.send(ANNA, group, f"in {group}")
    await until(lambda: len(new) == 2)
    assert [e.text for e in new] == ["in 7001", "in 7002"]


async def test_a_reply_that_is_faster_than_the_answer_is_not_lost(world: World, client: TelegramClient) -> None:
    """Somebody in this process may write back while the send is still being worked on."""
    new = collect(client, events.NewMessage(incoming=True))

    def echo(event: Any) -> None:
        message = getattr(event, "message", None)
        if type(event).__name__ == "Sent" and message.sender_id == OWNER:
            world.send(ANNA, OWNER, "already here")

    world.subscribe(echo)
    await client.send_message("anna", "hello")
    await until(lambda: bool(new))
    assert [e.text for e in new] == ["already here"]


async def test_150_messages_of_an_absence_are_caught_up_in_slices(world: World, server: MtprotoServer, tmp_path: Path) -> None:
    signed_in = StringSession(server.session_string(OWNER))
    session = SQLiteSession(str(tmp_path / "owner"))
    session.set_dc(signed_in.dc_id, signed_in.server_address, signed_in.port)
    session.auth_key = signed_in.auth_key
    first = TelegramClient(session, 1, "hash")
    live = collect(first, events.NewMessage(incoming=True))
    await first.connect()
    await first.get_dialogs()
    for n in range(5):
        world.send(ANNA, OWNER, f"live {n}")
    await until(lambda: len(live) == 5)
    await first.disconnect()
    for n in range(150):
        world.send(ANNA, OWNER, f"offline {n}")
    second = TelegramClient(SQLiteSession(str(tmp_path / "owner")), 1, "hash", catch_up=True)
    caught = collect(second, events.NewMessage(incoming=True))
    await second.connect()
    await until(lambda: len(caught) >= 150)
    await second.disconnect()
    assert [e.text for e in live] == [f"live {n}" for n in range(5)]
    assert sorted(int(e.text.split()[1]) for e in caught) == list(range(150))
    assert [c.name for c in server.calls].count("GetDifference") >= 2


async def test_difference_carries_the_present_state(world: World, client: TelegramClient) -> None:
    before = await client(functions.updates.GetStateRequest())
    kept, edited, gone = (world.send(ANNA, OWNER, text) for text in ("kept", "edit me", "gone"))
    world.edit(edited, text="edited")
    world.delete([gone])
    answer = await client(functions.updates.GetDifferenceRequest(before.pts, before.date, 0))
    assert isinstance(answer, types.updates.Difference)
    assert [m.message for m in answer.new_messages] == ["kept", "edited"]
    assert [type(u) for u in answer.other_updates] == [types.UpdateEditMessage, types.UpdateDeleteMessages]
    assert answer.state.pts == before.pts + 5
    assert kept.ids[OWNER] == 1
    nothing = await client(functions.updates.GetDifferenceRequest(answer.state.pts, before.date, 0))
    assert isinstance(nothing, types.updates.DifferenceEmpty)


async def test_a_channel_has_a_difference_of_its_own(world: World, client: TelegramClient) -> None:
    world.add_group(Group(7002, "Climbers", "group", {OWNER, ANNA}))
    for n in range(3):
        world.send(ANNA, 7002, f"text {n}")
    group = await client.get_input_entity((await client.get_dialogs())[0].entity)
    request = functions.updates.GetChannelDifferenceRequest(group, types.ChannelMessagesFilterEmpty(), 2, 100)
    answer = await client(request)
    assert [m.message for m in answer.new_messages] == ["text 1", "text 2"]
    assert answer.final


async def test_a_duplicated_update_is_handled_once(world: World, faults: Faults, client: TelegramClient) -> None:
    new = collect(client, events.NewMessage)
    faults.add(Fault("updates", "duplicate"))
    world.send(ANNA, OWNER, "one")
    world.send(ANNA, OWNER, "two")
    await until(lambda: len(new) >= 2)
    assert [e.text for e in new] == ["one", "two"]
    assert [f.times for f in faults.rules] == [0]


async def test_updates_out_of_order_are_put_in_order(world: World, faults: Faults, client: TelegramClient) -> None:
    new = collect(client, events.NewMessage)
    world.send(ANNA, OWNER, "zero")
    await until(lambda: bool(new))
    faults.add(Fault("updates", "reorder"))
    for text in ("one", "two", "three"):
        world.send(ANNA, OWNER, text)
    await until(lambda: len(new) >= 4)
    assert [e.text for e in new] == ["zero", "one", "two", "three"]


async def test_a_difference_that_is_too_long_says_so(world: World, server: MtprotoServer, new_client: NewClient) -> None:
    client = await new_client(OWNER)
    before = await client(functions.updates.GetStateRequest())
    for i in range(5):
        world.send(ANNA, OWNER, f"line {i}")
    server.difference_most = 4
    answer = await client(functions.updates.GetDifferenceRequest(before.pts, before.date, before.qts))
    assert isinstance(answer, types.updates.DifferenceTooLong)
    assert answer.pts == before.pts + 5
    server.difference_most = 5
    answer = await client(functions.updates.GetDifferenceRequest(before.pts, before.date, before.qts))
    assert len(answer.new_messages) == 5


async def test_a_state_that_this_server_never_gave_is_refused(new_client: NewClient) -> None:
    client = await new_client(OWNER)
    state = await client(functions.updates.GetStateRequest())
    with pytest.raises(errors.PersistentTimestampInvalidError):
        await client(functions.updates.GetDifferenceRequest(state.pts + 1, state.date, state.qts))
