"""What the tests of the Bot API door start from: a small world with a clock of its own, the door on a real socket, clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiohttp import ClientSession

from sandbox.botapi import BotApi, RateLimits
from sandbox.faults import Fault, Faults
from sandbox.samples import OWNER_ID, Sample, small_world
from sandbox.world import BusinessConnection, World

OWNER, ADA, BEN, CLEO = range(OWNER_ID, OWNER_ID + 4)
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6364f8cf500f0003060180"
    "5a347d6b0000000049454e44ae426082"
)


class Clock:
    """Real time plus what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Scene:
    world: World
    clock: Clock
    faults: Faults
    api: BotApi
    sample: Sample
    bot: Bot
    http: ClientSession

    def fail(self, method: str, action: Any, arg: Any = None, **more: int) -> None:
        self.faults.add(Fault(method, action, arg, **more))

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A raw call with a JSON body; the whole answer."""
        async with self.http.post(f"{self.api.base_url}/bot{self.sample.bot_token}/{method}", json=params) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status == answer.get("error_code", 200)
            return answer

    async def refusal(self, method: str, **params: Any) -> tuple[int, str]:
        answer = await self.call(method, **params)
        assert answer["ok"] is False, answer
        return answer["error_code"], answer["description"]

    async def updates(self, **params: Any) -> list[dict[str, Any]]:
        return (await self.call("getUpdates", **params))["result"]

    async def confirm_all(self) -> None:
        await self.updates(offset=2**40)

    def connect(self, **rights: bool) -> BusinessConnection:
        """The owner connects the bot to the account."""
        bot_id = self.sample.bot_id
        assert bot_id is not None
        made = BusinessConnection("bc1", OWNER, bot_id, int(self.clock()))
        made.rights.update(rights)
        self.world.set_connection(made)
        return made


@asynccontextmanager
async def opened(*, limits: RateLimits | None = None) -> AsyncIterator[Scene]:
    clock = Clock()
    world = World(clock=clock)
    sample = small_world(world)
    faults = Faults()
    api = await BotApi(world, faults, limits=limits, webhook_retry_seconds=0.01).start()
    assert sample.bot_token is not None
    bot = Bot(sample.bot_token, session=AiohttpSession(api=TelegramAPIServer.from_base(api.base_url)))
    try:
        async with ClientSession() as http:
            yield Scene(world, clock, faults, api, sample, bot, http)
    finally:
        await bot.session.close()
        await api.stop()


async def until(claim: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Wait until `claim` is truthy; its value."""
    deadline = time.monotonic() + seconds
    while not (value := claim()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)
    return value


def button(text: str, data: str) -> dict[str, Any]:
    return {"inline_keyboard": [[{"text": text, "callback_data": data}]]}
