"""A bot in a process of its own, and how it dies."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bot_scene import BOT, OWNER, Scene, labels
from forked import Child, fork

from sandbox.world import Event, Message
from twin.store import inbox

BACKLOG = 8  # updates not handled yet at which the load rests: it is to hit a working bot, not to drown a starting or a slow one


@dataclass(frozen=True)
class Program:
    """A bot that `function` runs in a process of its own. `variant`: of `naive`, "" for the real one."""

    function: str
    way: str
    arguments: tuple[str | float, ...]
    variant: str = ""


async def is_behind(scene: Scene) -> bool:
    """Whether the bot has more to do than it can: whatever it wanted to say would be out of date before it could."""
    async with scene.store.connect() as connection:
        waiting = await inbox.waiting(connection, limit=BACKLOG)
    return len(scene.api.door.inbox(BOT)) + len(waiting) > BACKLOG


@asynccontextmanager
async def alive(program: Program, dies_at: str = "") -> AsyncIterator[Child]:
    """From the moment when it polls. `dies_at`: a point of `kill_points` for its way, "NAME" or "NAME:TIMES"."""
    child = await fork(program.function, program.way, program.variant, dies_at, *program.arguments)
    try:
        assert await asyncio.wait_for(child.hear(), 120) == "READY"
        yield child
    finally:
        if child.is_alive:
            child.kill()
        await child.wait()


async def die_at(program: Program, point: str) -> None:
    """Under a load that gets it there."""
    async with alive(program, point) as child:
        await child.died_at(point)


async def clear_suspicion(scene: Scene, program: Program) -> None:
    """An update in whose handling three deaths in a row fall is set aside. Points are not its fault: it is handled in time."""

    async def suspected() -> bool:
        async with scene.store.connect() as connection:
            return any(received.attempts > 1 for received in await inbox.waiting(connection, limit=100))

    if await suspected():
        async with alive(program), asyncio.timeout(60):
            while True:
                await asyncio.sleep(0.05)
                if not await suspected():
                    break


async def live_and_die(scene: Scene, program: Program, counts: Callable[[Event], bool], *, acts: int, delay: float) -> None:
    """Kill it when so many events that count have come: with no delay in the instant after the act and before the answer."""
    loop = asyncio.get_running_loop()
    async with alive(program) as child:
        left = acts

        def hear(event: Event) -> None:
            nonlocal left
            if counts(event):
                left -= 1
                if left == 0:
                    loop.call_later(delay, child.kill) if delay else child.kill()

        unsubscribe = scene.world.subscribe(hear)
        try:
            assert await asyncio.wait_for(child.wait(), 120) == -signal.SIGKILL, "it died by itself"
        finally:
            unsubscribe()


async def drain(scene: Scene, settle: Callable[[Message], None], is_idle: Callable[[], Awaitable[bool]], seconds: float = 300.0) -> None:
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
