"""A task that is cancelled inside a transaction leaves no lock behind and does not hang."""

import asyncio
import random
from pathlib import Path

from twin.store import facts, open_store


async def test_cancelled_writers_end_at_once_and_lock_nobody_out(tmp_path: Path) -> None:
    store = open_store(tmp_path / "twin.sqlite")
    chance = random.Random(1)

    async def write(name: str) -> None:
        while True:
            async with store.begin() as connection:
                await facts.put(connection, name, 1)
                await facts.get(connection, name)

    for _ in range(15):
        writers = {asyncio.create_task(write(f"fact {i}")) for i in range(5)}
        await asyncio.sleep(chance.uniform(0.005, 0.04))
        for writer in writers:
            writer.cancel()
        _, running = await asyncio.wait(writers, timeout=30)
        assert not running
        async with store.begin() as connection:
            await facts.put(connection, "last", 1)
    await store.dispose()
