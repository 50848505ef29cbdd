"""Telegram's waits, obeyed to the second: a short one is slept through, a long one ends the run, both outlive the process.

A wait is a fact in the store before it begins, as the time at which it ends. Whoever starts next, after a crash too, does not
call Telegram before that time. Telethon sleeps by itself up to its `flood_sleep_threshold` and tells nobody, so it gets none.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from twin.errors import FloodError
from twin.settings import Settings
from twin.store import facts

Result = TypeVar("Result")

WAIT = "collect.wait"  # the fact: {"until": unix seconds, "seconds": as Telegram said it}
TICK_SECONDS = 1.0  # how often the rest of a wait is told


@dataclass(frozen=True)
class FloodWaits:
    """The waits of one collection. `tell` is shown the rest of a wait, in words, every second; "" when it is over."""

    store: AsyncEngine
    settings: Settings
    tell: Callable[[str], None]

    async def kept(self) -> None:
        """Obey what an earlier run was told: sleep the rest if it is short, raise FloodError if it is not."""
        async with self.store.connect() as connection:
            wait = await facts.get(connection, WAIT)
        if wait:
            # A clock that was set back makes no wait longer than what Telegram asked for.
            left = math.ceil(min(wait["until"] - time.time(), wait["seconds"]))
            await self._obey(left, wait["until"], longest=self.settings.telegram.flood_sleep_seconds)

    async def patiently(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """What `ask` gives, asked again after each short wait. Raises FloodError for a long one.

        The waits of one request count together: a server that says "wait 20 seconds" for ever must not keep a night busy."""
        slept = 0
        while True:
            try:
                return await ask()
            except FloodError as exc:
                seconds = max(1, exc.seconds)  # 0 has been seen on test servers: asking at once again would only bring the next
                until = time.time() + seconds
                async with self.store.begin() as connection:
                    await facts.put(connection, WAIT, {"until": until, "seconds": seconds})
                await self._obey(seconds, until, longest=self.settings.telegram.flood_sleep_seconds - slept)
                slept += seconds

    async def _obey(self, seconds: int, until: float, *, longest: int) -> None:
        if seconds > longest:
            at = datetime.fromtimestamp(until).astimezone()
            raise FloodError(seconds, f"Telegram asks to wait {in_words(seconds)}: collecting goes on after {at:%Y-%m-%d %H:%M:%S}.")
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.tell(f"Telegram asks to wait, {in_words(math.ceil(left))} left")
            await asyncio.sleep(min(left, TICK_SECONDS))
        self.tell("")
        async with self.store.begin() as connection:
            await facts.forget(connection, WAIT)


def in_words(seconds: int) -> str:
    """90 s, 14 min 5 s, 23 h 59 min: never shorter than it is."""
    if seconds <= 90:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s" if seconds % 60 else f"{seconds // 60} min"
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"
