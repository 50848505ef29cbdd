"""Sending, its idempotency by random_id, edits, deletions, read marks, and what Telegram refuses."""

from __future__ import annotations

import pytest
from mtproto_cast import ANNA, BEN, OWNER, NewClient
from telethon import TelegramClient, errors, functions, types

from sandbox.mtproto import MtprotoServer
from sandbox.world import Account, Group, World


async def test_sends_with_reply_and_gives_the_id(world: World, client: TelegramClient) -> None:
    question = world.send(ANNA, OWNER, "lunch?")
    sent = await client.send_message("anna", "yes", reply_to=question.ids[OWNER])
    stored = world.history(OWNER, ANNA)[-1]
    assert (sent.id, sent.out, sent.text) == (stored.ids[OWNER], True, "yes")
    assert stored.reply_to == question.uid
    assert stored.sender_id == OWNER


async def test_a_repeated_random_id_gives_the_first_message_again(world: World, client: TelegramClient) -> None:
    request = functions.messages.SendMessageRequest(await client.get_input_entity("anna"), "once", random_id=77)
    first, second = await client(request), await client(request)
    assert isinstance(first, types.UpdateShortSentMessage)
    id_update, message_update = second.updates
    assert (id_update.id, id_update.random_id) == (first.id, 77)
    assert (message_update.message.id, message_update.pts_count) == (first.id, 0)
    assert [m.text for m in world.history(OWNER, ANNA)] == ["once"]


async def test_or_it_is_500_random_id_duplicate(world: World, server: MtprotoServer, new_client: NewClient) -> None:
    server.duplicate_random_id = "error"
    client = await new_client(request_retries=0, raise_last_call_error=True)
    request = functions.messages.SendMessageRequest(await client.get_input_entity("anna"), "once", random_id=77)
    await client(request)
    with pytest.raises(errors.RandomIdDuplicateError):
        await client(request)
    assert len(world.history(OWNER, ANNA)) == 1


async def test_the_same_random_id_to_another_contact_is_another_message(world: World, client: TelegramClient) -> None:
    world.send(BEN, OWNER, "hi")
    await client.get_dialogs()
    for peer in (await client.get_input_entity("anna"), await client.get_input_entity(BEN)):
        await client(functions.messages.SendMessageRequest(peer, "same", random_id=77))
    assert world.history(OWNER, BEN)[-1].text == "same"


async def test_sends_to_oneself_to_groups_and_forwards(world: World, client: TelegramClient) -> None:
    world.add_group(Group(7002, "Climbers", "group", {OWNER, ANNA}))
    world.send(ANNA, 7002, "hi all")
    note = await client.send_message("me", "a note")
    assert (note.id, world.history(OWNER, OWNER)[0].text) == (1, "a note")
    group = (await client.get_dialogs())[1]
    assert (await client.send_message(group, "hello")).id == 2
    forwarded = await client.forward_messages("anna", note)
    assert forwarded.text == "a note"
    assert world.history(OWNER, ANNA)[0].forwarded_from == OWNER


async def test_edits_its_own_message_only(world: World, client: TelegramClient) -> None:
    theirs = world.send(ANNA, OWNER, "theirs")
    mine = await client.send_message("anna", "mine")
    edited = await client.edit_message("anna", mine.id, "mine, better")
    assert edited.text == "mine, better"
    assert edited.edit_date
    assert world.history(OWNER, ANNA)[-1].text == "mine, better"
    with pytest.raises(errors.MessageAuthorRequiredError):
        await client.edit_message("anna", theirs.ids[OWNER], "no")
    with pytest.raises(errors.MessageNotModifiedError):
        await client.edit_message("anna", mine.id, "mine, better")
    with pytest.raises(errors.MessageIdInvalidError):
        await client.edit_message("anna", 99, "no")


async def test_an_old_message_cannot_be_edited(world: World, client: TelegramClient) -> None:
    old = world.send(OWNER, ANNA, "old", date=int(world.clock()) - 49 * 3600)
    with pytest.raises(errors.MessageEditTimeExpiredError):
        await client.edit_message("anna", old.ids[OWNER], "new")


async def test_deletes_for_both_sides(world: World, client: TelegramClient) -> None:
    world.send(ANNA, OWNER, "one")
    world.send(ANNA, OWNER, "two")
    affected = await client.delete_messages("anna", [1, 55])
    assert affected[0].pts_count == 1
    assert [m.text for m in world.history(ANNA, OWNER)] == ["two"]
    await client.delete_dialog("anna", revoke=True)
    assert world.history(ANNA, OWNER) == []


async def test_deleting_for_oneself_only_is_refused_and_recorded(world: World, client: TelegramClient, server: MtprotoServer) -> None:
    world.send(ANNA, OWNER, "one")
    with pytest.raises(errors.MessageDeleteForbiddenError):
        await client.delete_messages("anna", [1], revoke=False)
    assert server.unhandled == ["DeleteMessages without revoke"]
    server.unhandled.clear()
    assert len(world.history(ANNA, OWNER)) == 1


@pytest.mark.parametrize(
    ("text", "error"),
    [("x" * 4097, errors.MessageTooLongError), ("🙂" * 2049, errors.MessageTooLongError), (" ", errors.MessageEmptyError)],
)
async def test_text_limits_count_utf16_units(text: str, error: type[Exception], client: TelegramClient) -> None:
    peer = await client.get_input_entity("anna")
    with pytest.raises(error):
        await client(functions.messages.SendMessageRequest(peer, text))


async def test_refusals(world: World, client: TelegramClient) -> None:
    world.add_account(Account(4000, "", deleted=True, username="gone"))
    world.account(ANNA).blocked.add(OWNER)
    world.account(OWNER).blocked.add(BEN)
    for chat, error in (
        (ANNA, errors.UserIsBlockedError),
        (BEN, errors.YouBlockedUserError),
        (4000, errors.InputUserDeactivatedError),
    ):
        peer = types.InputPeerUser(chat, world.account(chat).access_hash)
        with pytest.raises(error):
            await client(functions.messages.SendMessageRequest(peer, "hi"))
    with pytest.raises(errors.PeerIdInvalidError):
        await client(functions.messages.SendMessageRequest(types.InputPeerUser(ANNA, 1), "hi"))


async def test_a_method_that_is_not_offered_is_refused_and_recorded(client: TelegramClient, server: MtprotoServer) -> None:
    with pytest.raises(errors.MethodInvalidError):
        await client(functions.messages.GetStickersRequest("🙂", 0))
    assert server.unhandled == ["GetStickers"]
    server.unhandled.clear()
