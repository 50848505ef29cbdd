"""A bot in a process of its own, and how it dies."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import naive
from bot_scene import BOT, OWNER, Scene, labels

from sandbox.world import Event, Message
from twin.store import inbox

HERE = Path(__file__).parent
BACKLOG = 8  # updates not handled yet at which the load rests: it is to hit a working bot, not to drown a starting or a slow one


@dataclass(frozen=True)
class Program:
    """A script beside this file that runs a bot and prints READY, and its arguments. `variant`: of `naive`, "" for the real one."""

    script: str
    arguments: tuple[str, ...]
    variant: str = ""


async def is_behind(scene: Scene) -> bool:
    """Whether the bot has more to do than it can: whatever it wanted to say would be out of date before it could."""
    async with scene.store.connect() as connection:
        waiting = await inbox.waiting(connection, limit=BACKLOG)
    return len(scene.api.door.inbox(BOT)) + len(waiting) > BACKLOG


@asynccontextmanager
async def alive(program: Program) -> AsyncIterator[asyncio.subprocess.Process]:
    """From the moment when it polls."""
    paths = os.pathsep.join((str(HERE), str(HERE.parent.parent)))
    command = [sys.executable, str(HERE / program.script), *program.arguments]
    environment = {**os.environ, "PYTHONPATH": paths, naive.VARIABLE: program.variant}
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
    try:
        assert process.stdout
        assert await asyncio.wait_for(process.stdout.readline(), 120) == b"READY\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def live_and_die(scene: Scene, program: Program, counts: Callable[[Event], bool], *, acts: int, delay: float) -> None:
    """Kill it when so many events that count have come: with no delay in the instant after the act and before the answer."""
    loop = asyncio.get_running_loop()
    async with alive(program) as process:
        left = acts

        def hear(event: Event) -> None:
            nonlocal left
            if counts(event):
                left -= 1
                if left == 0:
                    loop.call_later(delay, process.kill) if delay else process.kill()

        unsubscribe = scene.world.subscribe(hear)
        try:
            assert await asyncio.wait_for(process.wait(), 120) == -signal.SIGKILL, "it died by itself"
        finally:
            unsubscribe()


async def drain(scene: Scene, settle: Callable[[Message], None], is_idle: Callable[[], Awaitable[bool]], seconds: float = 120.0) -> None:
    """Until the owner has nothing left to tap on and the bot nothing to do. `settle` answers "did it arrive?"."""
    deadline = time.monotonic() + seconds
    while True:
        assert time.monotonic() < deadline, "it did not come to rest"
        left = [card for card in scene.from_bot(OWNER) if {"Send", "It arrived"} & set(labels(card))]
        if not left and await is_idle():
            return
        for card in left:
            if "It arrived" in labels(card):
                settle(card)
            else:
                scene.tap(card, "Send")
        await asyncio.sleep(0.3)
