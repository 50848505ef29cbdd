"""What the tests of the page start from: a small world with a clock of its own and the page on a real socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession

from sandbox.faults import Faults
from sandbox.page import PageServer
from sandbox.world import Account, Event, Group, Message, Pressed, Read, Typing, World

OWNER, ADA, BEN, BOT, GROUP = 100, 101, 102, 42, 900
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6364f8cf500f0003060180"
    "5a347d6b0000000049454e44ae426082"
)


def build_world() -> World:
    """An owner, two contacts of whom Ada wrote more, a bot, a group. All of it was said an hour ago or earlier."""
    now = int(time.time())
    world = World()
    world.add_account(Account(OWNER, "Robin", "Marlow", username="robin", phone="+99966000000", password="hidden"))
    world.add_account(Account(ADA, "Ada", "Ashby", username="ada", phone="+99966000001"))
    world.add_account(Account(BEN, "Ben", "Berglund", phone="+99966000002"))
    world.add_account(Account(BOT, "Twin", username="twin_bot", is_bot=True, token="42:never-shown"))
    world.add_group(Group(GROUP, "Walkers", "group", {OWNER, ADA}))
    for seconds, sender, to, text in (
        (90_000, ADA, OWNER, "are you there?"),
        (89_990, ADA, OWNER, "it is about saturday"),
        (4_000, OWNER, ADA, "here now"),
        (3_800, BEN, OWNER, "good morning"),
        (3_700, ADA, GROUP, "who is in?"),
    ):
        world.send(sender, to, text, date=now - seconds, silent=True)
    return world


@dataclass
class Scene:
    world: World
    faults: Faults
    page: PageServer
    http: ClientSession
    events: list[Event]

    async def get(self, path: str, *, status: int = 200, **headers: str) -> Any:
        async with self.http.get(f"{self.page.base_url}{path}", headers=headers) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def post(self, path: str, *, status: int = 200, **call: Any) -> Any:
        async with self.http.post(f"{self.page.base_url}/api/{path}", json=call) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def say(self, sender: int, to: int, text: str, **more: Any) -> Message:
        sent = await self.post("send", **{"from": sender, "to": to, "text": text}, **more)
        return self.world.messages[sent["message"]["uid"]]

    def heard(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def opened() -> AsyncIterator[Scene]:
    world, faults = build_world(), Faults()
    page = PageServer(world, faults, OWNER, login_code={"+99966000000": "54321"}.get)
    events: list[Event] = []
    world.subscribe(events.append)
    await page.start()
    try:
        async with ClientSession() as http:
            yield Scene(world, faults, page, http, events)
    finally:
        await page.stop()


async def until(claim: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait for a claim to be true; its value."""
    deadline = time.monotonic() + seconds
    while not (value := claim()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)
    return value


class Listening:
    """A listener of /api/events that reads on demand."""

    def __init__(self, response: Any) -> None:
        self._lines = response.content
        self.position = ""

    async def next(self) -> Any:
        while True:
            line = (await asyncio.wait_for(self._lines.readline(), 10)).decode()
            assert line, "the stream ended"
            if line.startswith("id: "):
                self.position = line[4:].strip()
            if line.startswith("data: "):
                return json.loads(line[6:])


class EchoBot:
    """A bot that lives in the world: a draft card for the owner for every message to it, and `send` delivers the draft."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.end = world.subscribe(self.hear)

    def hear(self, event: Event) -> None:
        loop = asyncio.get_running_loop()
        match event:
            case Pressed(press):
                loop.call_soon(self.pressed, press)
            case Typing() | Read():
                return
            case _ if (message := getattr(event, "message", None)) and message.chat == frozenset((ADA, BOT)) and message.sender_id == ADA:
                loop.call_soon(self.draft, message.text)

    def draft(self, text: str) -> None:
        keys = [[{"text": "Send", "callback_data": "send"}, {"text": "Skip", "callback_data": "skip"}]]
        entities = [{"type": "blockquote", "offset": 0, "length": len(text.encode("utf-16-le")) // 2}]
        self.world.send(BOT, OWNER, f"{text}\nsounds good!", entities=entities, reply_markup={"inline_keyboard": keys})

    def pressed(self, press: Any) -> None:
        done = press.data == "send"
        self.world.answer_press(press.id, "Sent to Ada" if done else "Skipped")
        self.world.edit(press.message, text=press.message.text + ("\n✓ sent" if done else "\n✗ skipped"))
        if done:
            self.world.send(BOT, ADA, "sounds good!")
