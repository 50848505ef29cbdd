"""A bot in a process of its own, and how it dies."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from bot_scene import BOT, Scene

from sandbox.world import Event
from twin.store import inbox

PROCESS = Path(__file__).with_name("bot_process.py")
BACKLOG = 8  # updates not handled yet at which the load rests: it is to hit a working bot, not to drown a starting or a slow one


async def is_behind(scene: Scene) -> bool:
    """Whether the bot has more to do than it can: whatever it wanted to say would be out of date before it could."""
    async with scene.store.connect() as connection:
        waiting = await inbox.waiting(connection, limit=BACKLOG)
    return len(scene.api.door.inbox(BOT)) + len(waiting) > BACKLOG


@asynccontextmanager
async def alive(scene: Scene, data: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """From the moment when it polls."""
    paths = os.pathsep.join((str(PROCESS.parent), str(PROCESS.parent.parent.parent)))
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROCESS), str(data), scene.api.base_url, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}
    )
    try:
        assert process.stdout
        assert await asyncio.wait_for(process.stdout.readline(), 120) == b"READY\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def live_and_die(scene: Scene, data: Path, counts: Callable[[Event], bool], *, acts: int, delay: float) -> None:
    """Kill it when so many events that count have come: with no delay in the instant after the act and before the answer."""
    loop = asyncio.get_running_loop()
    async with alive(scene, data) as process:
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
