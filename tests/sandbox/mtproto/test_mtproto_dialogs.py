"""Dialogs come newest first in pages of at most 100; users, groups, channels, bots and deleted accounts are told apart."""

from __future__ import annotations

from mtproto_cast import ANNA, BEN, BOT, OWNER, NewClient
from telethon import TelegramClient, functions, types

from sandbox.world import Account, Group, World


async def test_250_chats_are_paged_without_loss_or_repeat(world: World, client: TelegramClient) -> None:
    """Many chats share the date of their newest message, so paging by date alone would lose some."""
    for n in range(250):
        world.add_account(Account(5000 + n, f"Contact {n}"))
        world.send(5000 + n, OWNER, "hi", date=1_700_000_000 + n // 40, silent=True)
    dialogs = await client.get_dialogs()
    assert [d.id for d in dialogs] == [5000 + n for n in reversed(range(250))]
    assert dialogs.total == 250
    assert [d.id for d in await client.get_dialogs(limit=30)] == [5249 - n for n in range(30)]


async def test_kinds_of_chats(world: World, client: TelegramClient) -> None:
    world.add_account(Account(4000, "", deleted=True))
    world.add_group(Group(7001, "Family", "basic_group", {OWNER, ANNA}))
    world.add_group(Group(7002, "Climbers", "group", {OWNER, ANNA, BEN}))
    world.add_group(Group(7003, "News", "channel", {OWNER, ANNA}))
    world.add_group(Group(7004, "Not mine", "group", {ANNA, BEN}))
    for sender, receiver in ((ANNA, OWNER), (BOT, OWNER), (4000, OWNER), (OWNER, OWNER), *((ANNA, g) for g in range(7001, 7005))):
        world.send(sender, receiver, "text")
    kinds = {d.entity.id: (type(d.entity).__name__, d.is_user, d.is_group, d.is_channel) for d in await client.get_dialogs()}
    assert kinds == {
        ANNA: ("User", True, False, False),
        BOT: ("User", True, False, False),
        4000: ("User", True, False, False),
        OWNER: ("User", True, False, False),
        7001: ("Chat", False, True, False),
        7002: ("Channel", False, True, True),
        7003: ("Channel", False, False, True),
    }
    users = {u.id: u for u in [await client.get_entity(i) for i in (ANNA, BOT, 4000, OWNER)]}
    assert users[BOT].bot
    assert not users[ANNA].bot
    assert users[ANNA].contact
    assert users[4000].deleted
    assert users[OWNER].is_self


async def test_histories_of_groups(world: World, client: TelegramClient) -> None:
    """A basic group's messages share the owner's id sequence, a supergroup's and a channel's have their own."""
    world.add_group(Group(7001, "Family", "basic_group", {OWNER, ANNA}))
    world.add_group(Group(7002, "Climbers", "group", {OWNER, ANNA}))
    world.send(ANNA, OWNER, "private")
    for group in (7001, 7002):
        world.send(ANNA, group, "in a group")
        world.send(OWNER, group, "an answer")
    names = {d.name: d for d in await client.get_dialogs()}
    family = await client.get_messages(names["Family"], limit=9)
    climbers = await client.get_messages(names["Climbers"], limit=9)
    assert [(m.id, m.sender_id, m.out) for m in family] == [(3, OWNER, True), (2, ANNA, False)]
    assert [(m.id, m.sender_id, m.out) for m in climbers] == [(2, OWNER, True), (1, ANNA, False)]
    assert (await client.get_messages(names["Climbers"], ids=1)).text == "in a group"


async def test_unread_counts_and_read_marks(world: World, client: TelegramClient, new_client: NewClient) -> None:
    world.send(ANNA, OWNER, "loaded", silent=True)
    world.send(ANNA, OWNER, "one")
    world.send(ANNA, OWNER, "two")
    before = (await client.get_dialogs())[0]
    assert (before.unread_count, before.dialog.read_inbox_max_id) == (2, 1)
    anna = await new_client(ANNA)
    assert (await anna.get_dialogs())[0].dialog.read_outbox_max_id == 1
    await client.send_read_acknowledge("anna")
    after = (await client.get_dialogs())[0]
    assert (after.unread_count, after.dialog.read_inbox_max_id) == (0, 3)
    assert (await anna.get_dialogs())[0].dialog.read_outbox_max_id == 3


async def test_single_dialogs_pinned_ones_and_the_archive(world: World, client: TelegramClient) -> None:
    world.send(ANNA, OWNER, "hi")
    peer = await client.get_input_entity("anna")
    found = await client(functions.messages.GetPeerDialogsRequest([types.InputDialogPeer(peer)]))
    assert [d.top_message for d in found.dialogs] == [1]
    assert (await client(functions.messages.GetPinnedDialogsRequest(folder_id=0))).dialogs == []
    assert await client.get_dialogs(folder=1) == []


async def test_who_is_who(world: World, client: TelegramClient) -> None:
    world.send(ANNA, OWNER, "hi")
    world.set_commands(BOT, [("help", "What I can do")])
    assert (await client.get_entity("@Anna")).id == ANNA
    assert (await client.get_entity("+9990002")).phone == "9990002"
    contacts = await client(functions.contacts.GetContactsRequest(0))
    assert [u.id for u in contacts.users] == [ANNA]
    full = await client(functions.users.GetFullUserRequest("twin_bot"))
    assert [c.command for c in full.full_user.bot_info.commands] == ["help"]
    empty = await client(functions.users.GetUsersRequest([types.InputUser(ANNA, 1)]))
    assert isinstance(empty[0], types.UserEmpty)


async def test_a_strangers_phone_is_not_shown(world: World, client: TelegramClient) -> None:
    world.add_account(Account(4001, "Stranger", username="stranger", phone="9994001"))
    assert (await client.get_entity("stranger")).phone is None
