"""A second, unrelated client against the same door: python-telegram-bot. So the door is a server and no mirror of aiogram."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from botapi_scene import ADA, OWNER, PNG, Scene, opened, until
from telegram import Bot, BotCommand, InlineKeyboardButton, InlineKeyboardMarkup, InputMediaPhoto, MessageEntity, ReplyParameters, Update
from telegram.error import BadRequest, Conflict, Forbidden, InvalidToken, RetryAfter
from telegram.ext import Application, ApplicationBuilder, TypeHandler

from sandbox.samples import BOT_ID


def kind(update: Update) -> str:
    return next(name for name in Update.ALL_TYPES if getattr(update, name, None) is not None)


@asynccontextmanager
async def client(s: Scene) -> AsyncIterator[Bot]:
    async with Bot(s.sample.bot_token, base_url=f"{s.api.base_url}/bot", base_file_url=f"{s.api.base_url}/file/bot") as bot:
        yield bot


@asynccontextmanager
async def application(s: Scene, handle: Any) -> AsyncIterator[Application]:
    app = ApplicationBuilder().token(s.sample.bot_token).base_url(f"{s.api.base_url}/bot").build()
    app.add_handler(TypeHandler(Update, handle))
    async with app:
        await app.start()
        await app.updater.start_polling(timeout=1, allowed_updates=Update.ALL_TYPES)
        yield app
        await app.updater.stop()
        await app.stop()


async def test_every_kind_of_update_is_understood() -> None:
    async with opened() as s:
        got: list[str] = []

        async def handle(update: Update, context: Any) -> None:
            got.append(kind(update))
            if update.business_message and not update.business_message.sender_business_bot:
                keyboard = InlineKeyboardMarkup([[InlineKeyboardButton("Send", callback_data="send")]])
                await context.bot.send_message(OWNER, "draft", reply_markup=keyboard)
            if update.callback_query:
                await context.bot.send_message(ADA, "yo", business_connection_id="bc1")
                await update.callback_query.answer("ok")
                await update.callback_query.edit_message_text("sent")

        async with application(s, handle):
            s.connect()
            hello = s.world.send(ADA, OWNER, "hello")
            card = await until(lambda: next((m for m in s.world.history(OWNER, BOT_ID) if m.reply_markup), None))
            s.world.press(OWNER, card, "send")
            await until(lambda: card.text == "sent")
            s.world.edit(hello, text="hello!")
            s.world.delete([hello])
            s.world.edit(s.world.send(OWNER, BOT_ID, "/retrain"), text="/status")
            s.world.join(next(iter(s.world.groups)), BOT_ID, by_id=OWNER)
            await until(lambda: len(got) == 9)
        assert got[:4] == ["business_connection", "business_message", "callback_query", "business_message"]
        assert sorted(got[4:]) == ["deleted_business_messages", "edited_business_message", "edited_message", "message", "my_chat_member"]
        assert [m.text for m in s.world.history(ADA, OWNER)][-1] == "yo"


async def test_messages_formats_replies_files_and_menus() -> None:
    async with opened() as s, client(s) as bot:
        assert (await bot.get_me()).username == "twin_bot"
        sent = await bot.send_message(OWNER, "*bold* _x_", parse_mode="MarkdownV2")
        assert [(e.type, sent.parse_entity(e)) for e in sent.entities] == [(MessageEntity.BOLD, "bold"), (MessageEntity.ITALIC, "x")]
        reply = await bot.send_message(OWNER, "re", reply_parameters=ReplyParameters(sent.message_id))
        assert reply.reply_to_message.text == "bold x"
        assert (await bot.edit_message_text("new", OWNER, sent.message_id)).edit_date
        photo = await bot.send_photo(OWNER, PNG, caption="loss")
        file = await bot.get_file(photo.photo[-1].file_id)
        assert bytes(await file.download_as_bytearray()) == PNG
        edited = await bot.edit_message_media(InputMediaPhoto(PNG + b"\0", caption="later"), OWNER, photo.message_id)
        assert edited.caption == "later"
        document = await bot.send_document(OWNER, b"rows", filename="rows.csv")
        assert document.document.file_name == "rows.csv"
        assert await bot.set_my_commands([BotCommand("help", "Help")])
        assert [c.command for c in await bot.get_my_commands()] == ["help"]
        assert await bot.delete_message(OWNER, reply.message_id)
        assert await bot.send_chat_action(OWNER, "typing")


async def test_errors_are_the_ones_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "true")
    async with opened() as s, client(s) as bot:
        with pytest.raises(BadRequest, match="Chat not found"):
            await bot.send_message(5, "x")
        with pytest.raises(Forbidden, match="bot can't initiate conversation with a user"):
            await bot.send_message(ADA, "x")
        s.fail("sendMessage", "flood", 3)
        with pytest.raises(RetryAfter):
            await bot.send_message(OWNER, "x")
        poll = asyncio.create_task(bot.get_updates(timeout=10))
        await until(lambda: s.api.calls_of("getUpdates"))
        await s.updates()
        with pytest.raises(Conflict):
            await poll
        wrong = Bot("42:WRONG", base_url=f"{s.api.base_url}/bot")
        with pytest.raises(InvalidToken):
            await wrong.initialize()
        await wrong.shutdown()


async def test_a_webhook_delivers_what_it_can_read() -> None:
    async with opened() as s, client(s) as bot:
        came: list[Update] = []

        async def take(request: web.Request) -> web.Response:
            assert request.headers["X-Telegram-Bot-Api-Secret-Token"] == "abc"
            came.append(Update.de_json(await request.json(), bot))
            return web.Response()

        app = web.Application()
        app.router.add_post("/", take)
        server = TestServer(app)
        await server.start_server()
        assert await bot.set_webhook(str(server.make_url("/")), secret_token="abc", allowed_updates=["message", "business_connection"])
        s.world.send(OWNER, BOT_ID, "/start")
        s.connect()
        s.world.send(ADA, OWNER, "not asked for")
        await until(lambda: len(came) == 2)
        assert [kind(u) for u in came] == ["message", "business_connection"]
        assert came[1].business_connection.rights.can_reply
        info = await bot.get_webhook_info()
        assert info.allowed_updates == ("business_connection", "message")
        assert (await bot.get_business_connection("bc1")).user.id == OWNER
        assert await bot.delete_webhook()
        await server.close()
