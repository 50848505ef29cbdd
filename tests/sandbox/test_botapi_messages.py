"""Messages, keyboards, edits and groups through unmodified aiogram."""

import asyncio

import pytest
from aiogram import Dispatcher, F, Router
from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError
from aiogram.filters import Command
from aiogram.types import (
    BotCommand,
    BotCommandScopeChat,
    CallbackQuery,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    Message,
    MessageEntity,
    ReactionTypeEmoji,
    ReplyParameters,
)
from botapi_scene import ADA, BEN, OWNER, opened, until

from sandbox.samples import BOT_ID
from sandbox.world import DraftStreamed, PressAnswered, Typing


def keyboard(*rows: str) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text=data, callback_data=data)] for data in rows])


async def test_a_bot_sees_a_command_and_answers_in_the_same_chat() -> None:
    async with opened() as s:
        seen: list[Message] = []
        router = Router()

        @router.message(Command("help"))
        async def answer(message: Message) -> None:
            seen.append(message)
            await message.answer(
                "<b>Help</b> &amp; more", parse_mode="HTML", reply_parameters=ReplyParameters(message_id=message.message_id)
            )

        dispatcher = Dispatcher()
        dispatcher.include_router(router)
        polling = asyncio.create_task(dispatcher.start_polling(s.bot, handle_signals=False, polling_timeout=1))
        asked = s.world.send(OWNER, BOT_ID, "/help me")
        await until(lambda: s.world.history(OWNER, BOT_ID)[-1].text == "Help & more")
        answered = s.world.history(OWNER, BOT_ID)[-1]
        assert answered.reply_to == asked.uid
        assert answered.entities == [{"type": "bold", "offset": 0, "length": 4}]
        assert seen[0].from_user.id == OWNER
        assert seen[0].message_id == asked.ids[BOT_ID]
        await dispatcher.stop_polling()
        await polling


async def test_the_answer_is_the_message_as_the_bot_sees_it() -> None:
    async with opened() as s:
        first = await s.bot.send_message(OWNER, "  one\n")
        bold = MessageEntity(type="bold", offset=0, length=3)
        second = await s.bot.send_message(OWNER, "two", entities=[bold], reply_parameters=ReplyParameters(message_id=first.message_id))
        assert first.text == "one"
        assert second.message_id == first.message_id + 1
        assert second.reply_to_message.text == "one"
        assert second.reply_to_message.reply_to_message is None
        assert [e.model_dump() for e in second.entities] == [bold.model_dump()]
        assert second.from_user.is_bot
        assert second.chat.id == OWNER


async def test_a_press_reaches_the_bot_and_its_answer_reaches_the_owner() -> None:
    async with opened() as s:
        heard: list[object] = []
        s.world.subscribe(heard.append)
        router = Router()

        @router.callback_query(F.data == "send:7")
        async def pressed(query: CallbackQuery) -> None:
            await query.answer("Sent.", show_alert=True)
            await query.message.edit_text(query.message.text + " ✓")

        dispatcher = Dispatcher()
        dispatcher.include_router(router)
        polling = asyncio.create_task(dispatcher.start_polling(s.bot, handle_signals=False, polling_timeout=1))
        sent = await s.bot.send_message(OWNER, "draft", reply_markup=keyboard("send:7", "skip:7"))
        card = s.world.in_box(BOT_ID, sent.message_id)
        press = s.world.press(OWNER, card, "send:7")
        await until(lambda: card.text == "draft ✓")
        assert card.reply_markup is None
        assert card.edit_date
        assert [(e.press.id, e.text, e.alert) for e in heard if isinstance(e, PressAnswered)] == [(press.id, "Sent.", True)]
        await dispatcher.stop_polling()
        await polling


async def test_a_callback_query_carries_message_data_and_instance() -> None:
    async with opened() as s:
        sent = await s.bot.send_message(OWNER, "draft", reply_markup=keyboard("a"))
        s.world.press(OWNER, s.world.in_box(BOT_ID, sent.message_id), "a")
        (update,) = await s.bot.get_updates()
        query = update.callback_query
        assert (query.from_user.id, query.data, query.message.message_id) == (OWNER, "a", sent.message_id)
        assert query.chat_instance
        s.clock.ahead += 61
        with pytest.raises(TelegramBadRequest, match="query is too old and response timeout expired or query ID is invalid"):
            await s.bot.answer_callback_query(query.id, "late")


async def test_the_keyboard_alone_can_be_changed_and_taken_away() -> None:
    async with opened() as s:
        sent = await s.bot.send_message(OWNER, "draft", reply_markup=keyboard("a"))
        changed = await s.bot.edit_message_reply_markup(chat_id=OWNER, message_id=sent.message_id, reply_markup=keyboard("b"))
        assert changed.reply_markup.model_dump() == keyboard("b").model_dump()
        assert changed.edit_date is None
        bare = await s.bot.edit_message_reply_markup(chat_id=OWNER, message_id=sent.message_id)
        assert bare.reply_markup is None
        with pytest.raises(TelegramBadRequest, match="message is not modified"):
            await s.bot.edit_message_reply_markup(chat_id=OWNER, message_id=sent.message_id)


async def test_an_edit_by_the_contact_is_an_update_and_the_bots_own_is_not() -> None:
    async with opened() as s:
        await s.bot.send_message(OWNER, "mine")
        await s.bot.edit_message_text("mine!", chat_id=OWNER, message_id=2)
        theirs = s.world.send(OWNER, BOT_ID, "yours")
        s.world.edit(theirs, text="yours!")
        updates = await s.bot.get_updates()
        assert [(u.event_type, u.event.text) for u in updates] == [("message", "yours"), ("edited_message", "yours!")]


async def test_messages_are_deleted_for_both() -> None:
    async with opened() as s:
        ids = [(await s.bot.send_message(OWNER, str(i))).message_id for i in range(3)]
        incoming = s.world.send(OWNER, BOT_ID, "hello").ids[BOT_ID]
        assert await s.bot.delete_message(OWNER, ids[0])
        assert await s.bot.delete_messages(OWNER, [*ids[1:], incoming, 999])
        assert [m.text for m in s.world.history(OWNER, BOT_ID)] == ["/start"]


async def test_typing_drafts_and_reactions_are_seen_in_the_world() -> None:
    async with opened() as s:
        heard: list[object] = []
        s.world.subscribe(heard.append)
        await s.bot.send_chat_action(OWNER, "typing")
        await s.bot.send_message_draft(OWNER, draft_id=3, text="hel")
        incoming = s.world.history(OWNER, BOT_ID)[0]
        await s.bot.set_message_reaction(OWNER, incoming.ids[BOT_ID], [ReactionTypeEmoji(emoji="👍")])
        assert heard[:2] == [Typing(BOT_ID, OWNER, "typing"), DraftStreamed(BOT_ID, OWNER, 3, "hel")]
        assert incoming.reactions == {BOT_ID: ("👍",)}


async def test_an_owner_can_have_a_menu_that_nobody_else_sees() -> None:
    async with opened() as s:
        await s.bot.set_my_commands([BotCommand(command="start", description="Start")])
        scope = BotCommandScopeChat(chat_id=OWNER)
        await s.bot.set_my_commands([BotCommand(command="approve", description="Approve")], scope=scope)
        assert [c.command for c in await s.bot.get_my_commands(scope=scope)] == ["approve"]
        assert s.world.commands_for(BOT_ID, OWNER) == (("approve", "Approve"),)
        assert s.world.commands_for(BOT_ID, ADA) == (("start", "Start"),)
        await s.bot.delete_my_commands(scope=scope)
        assert s.world.commands_for(BOT_ID, OWNER) == (("start", "Start"),)


async def test_a_bot_writes_only_to_those_who_wrote_first_and_did_not_block_it() -> None:
    async with opened() as s:
        with pytest.raises(TelegramForbiddenError, match="bot can't initiate conversation with a user"):
            await s.bot.send_message(BEN, "hi")
        s.world.delete([s.world.send(BEN, BOT_ID, "/start")])
        await s.bot.send_message(BEN, "hi")
        s.world.block(BEN, BOT_ID)
        with pytest.raises(TelegramForbiddenError, match="bot was blocked by the user"):
            await s.bot.send_message(BEN, "hi")
        *_, blocked = await s.bot.get_updates()
        assert blocked.my_chat_member.new_chat_member.status == "kicked"
        assert blocked.my_chat_member.chat.id == BEN


async def test_a_bot_in_a_group_sees_people_and_not_other_bots() -> None:
    async with opened() as s:
        group = next(g for g in s.world.groups.values() if g.kind == "group")
        other = s.world.add_account(type(s.world.account(BOT_ID))(43, "Other", is_bot=True, token="43:x"))
        s.world.join(group.id, BOT_ID, by_id=OWNER)
        s.world.join(group.id, other.id, by_id=OWNER)
        asked = s.world.send(ADA, group.id, "/help@twin_bot")
        s.world.send(other.id, group.id, "I am a bot")
        added, message = await s.bot.get_updates()
        chat_id = int(f"-100{group.id}")
        assert added.my_chat_member.chat.id == chat_id
        assert added.my_chat_member.new_chat_member.status == "member"
        assert (message.message.chat.id, message.message.chat.type, message.message.from_user.id) == (chat_id, "supergroup", ADA)
        assert message.message.entities[0].type == "bot_command"
        answer = await s.bot.send_message(chat_id, "hello", reply_parameters=ReplyParameters(message_id=asked.ids[group.id]))
        assert answer.reply_to_message.text == "/help@twin_bot"
        with pytest.raises(TelegramBadRequest, match="message can't be deleted"):
            await s.bot.delete_message(chat_id, asked.ids[group.id])
        await s.bot.leave_chat(chat_id)
        assert BOT_ID not in group.members
        with pytest.raises(TelegramForbiddenError, match="bot is not a member of the supergroup chat"):
            await s.bot.send_message(chat_id, "hello?")


async def test_posts_of_a_channel_have_no_sender() -> None:
    async with opened() as s:
        channel = next(g for g in s.world.groups.values() if g.kind == "channel")
        s.world.join(channel.id, BOT_ID, by_id=ADA)
        s.world.send(ADA, channel.id, "Sunny.")
        _, post = await s.bot.get_updates()
        assert post.channel_post.from_user is None
        assert post.channel_post.sender_chat.title == "Local weather"


async def test_two_bots_have_their_own_chats_and_updates() -> None:
    async with opened() as s:
        other = s.world.add_account(type(s.world.account(BOT_ID))(43, "Other", is_bot=True, token="43:x"))
        s.world.send(OWNER, other.id, "to the other")
        assert await s.bot.get_updates() == []
        async with s.http.get(f"{s.api.base_url}/bot43:x/getUpdates") as response:
            (update,) = (await response.json())["result"]
        assert update["message"]["text"] == "to the other"


async def test_what_the_owner_looks_like_in_full() -> None:
    async with opened() as s:
        chat = await s.bot.get_chat(OWNER)
        assert (chat.type, chat.first_name) == ("private", s.world.account(OWNER).first_name)
        with pytest.raises(TelegramBadRequest, match="chat not found"):
            await s.bot.get_chat(BEN)
        await s.bot.set_my_name("Robin's twin")
        assert (await s.bot.get_my_name()).name == "Robin's twin"
        assert (await s.bot.get_user_profile_photos(OWNER)).total_count == 0
