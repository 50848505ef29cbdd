"""The owner's own chats through a business connection: what the bot sees, and what it may do there."""

import asyncio

import pytest
from aiogram import Dispatcher, F, Router
from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError
from aiogram.types import BusinessConnection, BusinessMessagesDeleted, InlineKeyboardButton, InlineKeyboardMarkup, Message
from botapi_scene import ADA, BEN, OWNER, Scene, opened, until

from sandbox.samples import BOT_ID
from sandbox.world import Account, Read, Typing


async def kinds(s: Scene) -> list[str]:
    return [update.event_type for update in await s.bot.get_updates()]


async def test_the_story_of_a_draft_that_the_owner_sends() -> None:
    async with opened() as s:
        told: list[tuple] = []
        router = Router()

        @router.business_connection()
        async def connected(connection: BusinessConnection) -> None:
            told.append(("connected", connection.is_enabled, connection.rights.can_reply, connection.user_chat_id))

        @router.business_message(F.from_user.id != OWNER, ~F.sender_business_bot)
        async def incoming(message: Message) -> None:
            await s.bot.send_chat_action(message.chat.id, "typing", business_connection_id=message.business_connection_id)
            send = InlineKeyboardButton(text="Send", callback_data=f"send:{message.chat.id}:{message.business_connection_id}")
            await s.bot.send_message(OWNER, f"draft for {message.text}", reply_markup=InlineKeyboardMarkup(inline_keyboard=[[send]]))

        @router.business_message()
        async def echo(message: Message) -> None:
            told.append(("echo", message.from_user.id, message.sender_business_bot and message.sender_business_bot.id, message.text))

        @router.callback_query(F.data.startswith("send:"))
        async def send(query) -> None:
            _, chat_id, connection_id = query.data.split(":")
            await s.bot.send_message(int(chat_id), "see you!", business_connection_id=connection_id)
            await query.answer()

        dispatcher = Dispatcher()
        dispatcher.include_router(router)
        polling = asyncio.create_task(dispatcher.start_polling(s.bot, handle_signals=False, polling_timeout=1))
        s.connect()
        s.world.send(ADA, OWNER, "on my way")
        card = await until(lambda: next((m for m in s.world.history(OWNER, BOT_ID) if m.reply_markup), None))
        s.world.press(OWNER, card, f"send:{ADA}:bc1")
        await until(lambda: s.world.history(ADA, OWNER)[-1].text == "see you!")
        s.world.send(OWNER, ADA, "by hand")
        await until(lambda: len(told) == 3)
        assert told == [("connected", True, True, OWNER), ("echo", OWNER, BOT_ID, "see you!"), ("echo", OWNER, None, "by hand")]
        await dispatcher.stop_polling()
        await polling


async def test_a_business_message_is_the_owners_view_with_the_owners_ids() -> None:
    async with opened() as s:
        s.connect()
        sent = s.world.send(ADA, OWNER, "hello", reply_to=s.world.history(ADA, OWNER)[0].uid)
        _, update = await s.bot.get_updates()
        message = update.business_message
        assert (message.message_id, message.business_connection_id) == (sent.ids[OWNER], "bc1")
        assert sent.ids[OWNER] != sent.ids[ADA]
        assert (message.chat.id, message.chat.type, message.from_user.id) == (ADA, "private", ADA)
        assert message.reply_to_message.message_id == s.world.history(ADA, OWNER)[0].ids[OWNER]


async def test_the_result_of_a_send_and_its_echo_are_the_same_message() -> None:
    async with opened() as s:
        s.connect()
        s.world.send(ADA, OWNER, "hello")
        await s.confirm_all()
        sent = await s.bot.send_message(ADA, "hi!", business_connection_id="bc1")
        (echo,) = await s.bot.get_updates()
        assert echo.business_message.model_dump() == sent.model_dump()
        assert (sent.from_user.id, sent.sender_business_bot.id, sent.chat.id) == (OWNER, BOT_ID, ADA)
        assert s.world.history(ADA, OWNER)[-1].sender_id == OWNER


async def test_edits_and_deletions_are_told() -> None:
    async with opened() as s:
        s.connect()
        message = s.world.send(ADA, OWNER, "hello")
        await s.confirm_all()
        s.world.edit(message, text="hello!")
        s.world.delete([message, s.world.send(BEN, OWNER, "oops"), s.world.history(ADA, OWNER)[0]])
        edited, oops, *deleted = await s.bot.get_updates()
        assert edited.edited_business_message.text == "hello!"
        assert oops.business_message.text == "oops"
        gone: list[BusinessMessagesDeleted] = [d.deleted_business_messages for d in deleted]
        assert {g.chat.id: g.message_ids for g in gone} == {ADA: [message.ids[OWNER], 1], BEN: [message.ids[OWNER] + 1]}


async def test_groups_bots_and_service_messages_are_not_business() -> None:
    async with opened() as s:
        s.connect()
        other_bot = s.world.add_account(Account(43, "Other", is_bot=True, token="43:x"))
        await s.confirm_all()
        group = next(g for g in s.world.groups.values() if g.kind == "group")
        s.world.send(ADA, group.id, "in the group")
        s.world.send(OWNER, other_bot.id, "/start")
        s.world.send(OWNER, OWNER, "note to self")
        s.world.send(ADA, OWNER, "", service="phone_call")
        assert await kinds(s) == []
        s.world.send(OWNER, BOT_ID, "/help")
        assert await kinds(s) == ["message"]


async def test_an_own_message_is_edited_through_the_connection() -> None:
    async with opened() as s:
        s.connect()
        theirs = s.world.send(ADA, OWNER, "hello")
        sent = await s.bot.send_message(ADA, "hi", business_connection_id="bc1")
        edited = await s.bot.edit_message_text("hi!", chat_id=ADA, message_id=sent.message_id, business_connection_id="bc1")
        assert (edited.text, s.world.history(ADA, OWNER)[-1].text) == ("hi!", "hi!")
        with pytest.raises(TelegramBadRequest, match="message can't be edited"):
            await s.bot.edit_message_text("x", chat_id=ADA, message_id=theirs.ids[OWNER], business_connection_id="bc1")


async def test_typing_reading_and_pictures_go_out_as_the_owner() -> None:
    async with opened() as s:
        s.connect(can_delete_sent_messages=True)
        incoming = s.world.send(ADA, OWNER, "hello")
        heard: list[object] = []
        s.world.subscribe(heard.append)
        await s.bot.send_chat_action(ADA, "typing", business_connection_id="bc1")
        await s.bot.read_business_message("bc1", ADA, incoming.ids[OWNER])
        assert heard == [Typing(OWNER, ADA, "typing"), Read(OWNER, ADA, incoming.ids[OWNER])]
        sent = await s.bot.send_message(ADA, "hi", business_connection_id="bc1")
        assert await s.bot.delete_business_messages("bc1", [sent.message_id])
        with pytest.raises(TelegramForbiddenError):
            await s.bot.delete_business_messages("bc1", [incoming.ids[OWNER]])


async def test_the_reply_window_and_the_rights_are_kept() -> None:
    async with opened() as s:
        made = s.connect()

        async def refused(chat_id: int = ADA, connection_id: str = "bc1") -> str:
            code, text = await s.refusal("sendMessage", chat_id=chat_id, text="x", business_connection_id=connection_id)
            return f"{code} {text}"

        assert await refused(connection_id="bc2") == "400 Bad Request: business connection not found"
        assert await refused(BOT_ID) == "400 Bad Request: BUSINESS_PEER_INVALID"
        assert await refused(OWNER) == "400 Bad Request: BUSINESS_PEER_INVALID"
        assert await refused(ADA) == "400 Bad Request: BUSINESS_PEER_USAGE_MISSING"
        assert (await s.call("sendMessage", chat_id=BEN, text="x", business_connection_id="bc1"))["ok"]
        s.clock.ahead += 86_400
        assert await refused(BEN) == "400 Bad Request: BUSINESS_PEER_USAGE_MISSING"
        s.world.send(BEN, OWNER, "still there?")
        assert (await s.call("sendMessage", chat_id=BEN, text="yes", business_connection_id="bc1"))["ok"]
        made.rights["can_reply"] = False
        s.world.set_connection(made)
        assert await refused(BEN) == "403 Forbidden: BOT_ACCESS_FORBIDDEN"
        made.enabled = False
        s.world.set_connection(made)
        assert await refused(BEN) == "400 Bad Request: BUSINESS_CONNECTION_INVALID"


async def test_a_changed_connection_is_told_and_a_disabled_one_shows_nothing_more() -> None:
    async with opened() as s:
        made = s.connect()
        made.rights["can_reply"] = False
        s.world.set_connection(made)
        made.enabled = False
        s.world.set_connection(made)
        s.world.send(ADA, OWNER, "hello?")
        told = [u.business_connection for u in await s.bot.get_updates()]
        assert [(c.is_enabled, c.rights.can_reply) for c in told] == [(True, True), (True, None), (False, None)]
        fetched = await s.bot.get_business_connection("bc1")
        assert (fetched.id, fetched.user.id, fetched.is_enabled) == ("bc1", OWNER, False)


async def test_one_who_never_wrote_to_the_bot_is_reached_only_through_the_connection() -> None:
    async with opened() as s:
        s.connect()
        s.world.send(ADA, OWNER, "hello")
        with pytest.raises(TelegramForbiddenError, match="bot can't initiate conversation with a user"):
            await s.bot.send_message(ADA, "x")
        assert (await s.bot.get_chat(ADA)).id == ADA


async def test_a_contact_presses_a_button_of_a_business_message() -> None:
    async with opened() as s:
        s.connect()
        s.world.send(ADA, OWNER, "hello")
        keyboard = InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text="ok", callback_data="ok")]])
        sent = await s.bot.send_message(ADA, "fine?", business_connection_id="bc1", reply_markup=keyboard)
        await s.confirm_all()
        s.world.press(ADA, s.world.in_box(OWNER, sent.message_id), "ok")
        (update,) = await s.bot.get_updates()
        assert update.callback_query.message.business_connection_id == "bc1"
        assert update.callback_query.from_user.id == ADA
        await update.callback_query.answer()
