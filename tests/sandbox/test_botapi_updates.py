"""How updates leave: long poll, confirmation, conflicts, webhooks, and the faults of both."""

import asyncio
import time

import pytest
from aiogram import Dispatcher
from aiogram.exceptions import TelegramConflictError, TelegramNetworkError, TelegramRetryAfter, TelegramServerError
from aiogram.methods import SendMessage
from aiogram.types import Message
from aiogram.webhook.aiohttp_server import SimpleRequestHandler
from aiohttp import web
from aiohttp.test_utils import TestServer
from botapi_scene import OWNER, Scene, opened, until

from sandbox.samples import BOT_ID


def say(s: Scene, *texts: str) -> None:
    for text in texts:
        s.world.send(OWNER, BOT_ID, text)


def texts(updates: list[dict]) -> list[str]:
    return [u["message"]["text"] for u in updates]


async def test_updates_stay_until_an_offset_confirms_them() -> None:
    async with opened() as s:
        say(s, "a", "b", "c")
        first = await s.updates(limit=2)
        assert texts(first) == ["a", "b"]
        assert texts(await s.updates()) == ["a", "b", "c"]
        assert texts(await s.updates(offset=first[0]["update_id"] + 1)) == ["b", "c"]
        assert texts(await s.updates(offset=-1)) == ["c"]
        assert texts(await s.updates()) == ["c"]
        await s.confirm_all()
        assert await s.updates() == []


async def test_ids_rise_by_one_and_a_later_sandbox_starts_higher() -> None:
    async with opened() as s:
        say(s, "a", "b")
        one, two = await s.updates()
        assert two["update_id"] == one["update_id"] + 1
    await asyncio.sleep(0.2)
    async with opened() as s:
        say(s, "a")
        assert (await s.updates())[0]["update_id"] > one["update_id"]


async def test_a_long_poll_ends_with_the_update_or_empty_at_its_timeout() -> None:
    async with opened() as s:
        poll = asyncio.create_task(s.updates(timeout=10))
        await until(lambda: s.api.calls)
        say(s, "a")
        assert texts(await asyncio.wait_for(poll, 2)) == ["a"]
        await s.confirm_all()
        began = time.monotonic()
        assert await asyncio.wait_for(s.updates(timeout=1), 30) == []
        assert time.monotonic() - began > 0.9


async def test_the_older_of_two_pollers_gets_a_conflict() -> None:
    async with opened() as s:
        older = asyncio.create_task(s.bot.get_updates(timeout=10))
        await until(lambda: s.api.calls)
        newer = asyncio.create_task(s.updates(timeout=10))
        with pytest.raises(
            TelegramConflictError,
            match="terminated by other getUpdates request; make sure that only one bot instance is running",
        ):
            await older
        say(s, "a")
        assert texts(await newer) == ["a"]


async def test_allowed_updates_hold_for_later_updates_and_are_remembered() -> None:
    async with opened() as s:
        say(s, "before")
        assert texts(await s.updates(allowed_updates=["callback_query"])) == ["before"]
        say(s, "unwanted")
        assert texts(await s.updates()) == ["before"]
        assert (await s.call("getWebhookInfo"))["result"]["allowed_updates"] == ["callback_query"]
        await s.updates(allowed_updates=[])
        say(s, "wanted")
        assert texts(await s.updates()) == ["before", "wanted"]


async def test_updates_are_forgotten_after_a_day() -> None:
    async with opened() as s:
        say(s, "old")
        s.clock.ahead += 86_401
        say(s, "new")
        assert texts(await s.updates()) == ["new"]


async def test_a_test_can_hand_over_an_update_that_never_happened() -> None:
    async with opened() as s:
        update_id = s.api.push_update(BOT_ID, "callback_query", {"id": "1", "data": "forged"})
        (update,) = await s.updates()
        assert update == {"update_id": update_id, "callback_query": {"id": "1", "data": "forged"}}


async def test_the_door_closes_at_once_also_while_somebody_polls() -> None:
    async with opened() as s:
        poll = asyncio.create_task(s.bot.get_updates(timeout=50))
        s.fail("getMe", "no_reply")
        silent = asyncio.create_task(s.bot.get_me())
        await until(lambda: len(s.api.calls) == 2)
        await asyncio.wait_for(s.api.stop(), 30)
        for waiting in (poll, silent):
            with pytest.raises(TelegramNetworkError):
                await waiting


# --- faults ---


async def test_updates_arrive_twice_or_out_of_order_on_demand() -> None:
    async with opened() as s:
        say(s, "a", "b")
        s.fail("updates", "duplicate")
        assert texts(await s.updates()) == ["a", "a", "b", "b"]
        s.fail("updates", "reorder")
        assert texts(await s.updates()) == ["b", "a"]
        assert texts(await s.updates()) == ["a", "b"]


async def test_flood_and_errors_reach_the_client_as_telegram_sends_them() -> None:
    async with opened() as s:
        s.fail("sendMessage", "flood", 7)
        with pytest.raises(TelegramRetryAfter) as flood:
            await s.bot.send_message(OWNER, "x")
        assert flood.value.retry_after == 7
        s.fail("sendMessage", "error", [502, "Bad Gateway"])
        with pytest.raises(TelegramServerError, match="Bad Gateway"):
            await s.bot.send_message(OWNER, "x")
        await s.bot.send_message(OWNER, "through")
        assert s.world.history(OWNER, BOT_ID)[-1].text == "through"


@pytest.mark.parametrize(("action", "sent"), [("drop_before", 0), ("drop_after", 1), ("no_reply", 1), ("delay", 1)])
async def test_a_lost_answer_says_nothing_about_the_message(action: str, sent: int) -> None:
    async with opened() as s:
        before = len(s.world.history(OWNER, BOT_ID))
        s.fail("sendMessage", action, 0.6)
        with pytest.raises(TelegramNetworkError):
            await s.bot.send_message(OWNER, "x", request_timeout=0.3)
        await until(lambda: len(s.world.history(OWNER, BOT_ID)) == before + sent)


# --- webhooks ---


class Listener:
    """A webhook of our own: what came, and what to answer."""

    def __init__(self) -> None:
        self.came: list[dict] = []
        self.secrets: list[str | None] = []
        self.statuses: list[int] = []  # answered first, then 200
        app = web.Application()
        app.router.add_post("/hook", self.take)
        self.server = TestServer(app)

    async def take(self, request: web.Request) -> web.Response:
        self.secrets.append(request.headers.get("X-Telegram-Bot-Api-Secret-Token"))
        self.came.append(await request.json())
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    @property
    def url(self) -> str:
        return str(self.server.make_url("/hook"))

    async def __aenter__(self) -> "Listener":
        await self.server.start_server()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.server.close()


async def test_a_webhook_gets_waiting_and_new_updates_in_order_with_the_secret() -> None:
    async with opened() as s, Listener() as hook:
        say(s, "a", "b")
        answer = await s.call("setWebhook", url=hook.url, secret_token="s3cret")
        assert answer == {"ok": True, "result": True, "description": "Webhook was set"}
        await until(lambda: len(hook.came) == 2)
        say(s, "c")
        await until(lambda: len(hook.came) == 3)
        assert texts(hook.came) == ["a", "b", "c"]
        assert set(hook.secrets) == {"s3cret"}
        info = (await s.call("getWebhookInfo"))["result"]
        assert (info["url"], info["pending_update_count"], "last_error_message" in info) == (hook.url, 0, False)


async def test_a_refused_update_is_sent_again_until_taken_and_the_error_is_kept() -> None:
    async with opened() as s, Listener() as hook:
        hook.statuses = [500, 503]
        await s.bot.set_webhook(hook.url)
        say(s, "a", "b")
        await until(lambda: len(hook.came) == 4)
        assert texts(hook.came) == ["a", "a", "a", "b"]
        info = await s.bot.get_webhook_info()
        assert info.last_error_message == "Wrong response from the webhook: 503 Service Unavailable"
        await until(lambda: not len(s.api.door.inbox(BOT_ID)))


async def test_updates_wait_while_nobody_listens() -> None:
    async with opened() as s:
        async with Listener() as hook:
            url = hook.url
        await s.bot.set_webhook(url)
        say(s, "a")
        await until(lambda: s.api.door.webhooks[BOT_ID].last_error)
        info = await s.bot.get_webhook_info()
        assert info.pending_update_count == 1
        assert info.last_error_message.startswith("Connection failed")


async def test_polling_and_a_webhook_exclude_each_other() -> None:
    async with opened() as s, Listener() as hook:
        poll = asyncio.create_task(s.refusal("getUpdates", timeout=10))
        await until(lambda: s.api.calls)
        await s.bot.set_webhook(hook.url)
        assert await poll == (409, "Conflict: terminated by setWebhook request")
        assert await s.refusal("getUpdates") == (
            409,
            "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
        )
        assert (await s.call("deleteWebhook", drop_pending_updates=True))["description"] == "Webhook was deleted"
        say(s, "a")
        assert texts(await s.updates()) == ["a"]
        assert hook.came == []


async def test_a_webhook_repeats_and_swaps_updates_on_demand() -> None:
    async with opened() as s, Listener() as hook:
        say(s, "a", "b", "c", "d")
        s.fail("updates", "duplicate")
        s.fail("updates", "reorder", skip=1)
        await s.bot.set_webhook(hook.url)
        await until(lambda: len(hook.came) == 6)
        assert texts(hook.came) == ["a", "a", "b", "b", "d", "c"]


async def test_aiograms_handler_answers_through_the_response() -> None:
    async with opened() as s:
        dispatcher = Dispatcher()

        @dispatcher.message()
        async def echo(message: Message) -> SendMessage:
            return message.answer(f"<i>{message.text}</i>", parse_mode="HTML")

        app = web.Application()
        SimpleRequestHandler(dispatcher, s.bot, handle_in_background=False, secret_token="abc").register(app, path="/hook")
        server = TestServer(app)
        await server.start_server()
        await s.bot.set_webhook(str(server.make_url("/hook")), secret_token="abc")
        say(s, "hello")
        await until(lambda: s.world.history(OWNER, BOT_ID)[-1].sender_id == BOT_ID)
        answered = s.world.history(OWNER, BOT_ID)[-1]
        assert (answered.text, answered.entities[0]["type"]) == ("hello", "italic")
        await s.bot.delete_webhook()
        await server.close()
