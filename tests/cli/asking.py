"""People who go on asking while a night is played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from inference.engines import open_generator
from twin.cli.following import Follower
from twin.generator import Sampling
from twin.settings import Settings
from twin.store import open_store
from twin.turns import Turn, system_turn

PAUSE_SECONDS = 1.0  # people read; and on a machine without a GPU the night has to get a turn on the cores
TURNS = (system_turn("Robin", "Ada"), Turn("user", "how is the tea 7?"))


@dataclass
class Asked:
    """`answers`: which adapter gave each answer, in order."""

    clients: int
    answers: list[str | None] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def until(self, is_so: Callable[[], bool], seconds: float = 60) -> None:
        """Wait while everybody is answered. Raises what a request raised."""
        async with asyncio.timeout(seconds):
            while not is_so():
                for task in self.tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.05)

    async def until_only(self, adapter: str, times: int = 5) -> None:
        await self.until(lambda: self.answers[-times:] == [adapter] * times)

    def strays(self, old: str, new: str) -> int:
        """Answers of the old adapter after the first of the new one, beyond those that were in flight."""
        return max(0, self.answers[self.answers.index(new) :].count(old) - self.clients)


@asynccontextmanager
async def asking(settings: Settings, base: Path, *, clients: int = 3, max_new_tokens: int = 8) -> AsyncIterator[Asked]:
    """Within it so many clients ask an engine that follows the store's pointer, as `twin run` does. No request may fail."""
    store, generator = open_store(settings.store_path), open_generator(settings, base)
    follower = Follower(store, generator)
    asked = Asked(clients)

    async def ask() -> None:
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            asked.answers.append((await generator.generate(TURNS, Sampling(max_new_tokens=max_new_tokens, seed=1))).adapter)

    await follower.follow()
    asked.tasks = [asyncio.create_task(work) for work in (follower.keep_following(), *(ask() for _ in range(clients)))]
    try:
        yield asked
    finally:
        for task in asked.tasks:
            task.cancel()
        ended = await asyncio.gather(*asked.tasks, return_exceptions=True)
        await generator.close()
        await store.dispose()
    assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
