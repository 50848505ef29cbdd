"""One update has its effect once, however often it is handled.

An update is handled again when its answer did not get through to Telegram, or when the process ended in the middle. By then the store
may have moved on, and the newest draft may be another person's. So what a handler does, and what came of it, are written in one
transaction under the update's number; handled again, it is told what came of it the first time, and says that again.

Handlers write to the store in no other way (`tests/bot/test_once.py` looks at their source, and handles each of them twice).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.errors import TwinError
from twin.store import inbox
from twin.store.engine import Store

log = structlog.get_logger()
Outcome = TypeVar("Outcome")
BEGUN = {"begun": True}  # noted instead of an outcome, while something goes on that no transaction holds
INTERRUPTED = "I was interrupted while I did this, and do not do it a second time by myself. /status and /adapters show what came of it."


class Once:
    """Handed to every handler as `once`, for the update that it handles."""

    def __init__(self, store: Store, update_id: int) -> None:
        self._store = store
        self._update_id = update_id

    async def effect(self, do: Callable[[AsyncConnection], Awaitable[Outcome]]) -> Outcome:
        """Run `do` in a transaction and keep what it returns, which JSON must be able to hold (a tuple becomes a list).
        If that was done before: what it returned then."""
        async with self._store.begin() as connection:
            noted = await inbox.outcome(connection, self._update_id)
            if noted is None:
                noted = json.dumps(await do(connection))
                await inbox.note_outcome(connection, self._update_id, noted)
            else:
                log.info("update.repeated", update_id=self._update_id)
        outcome: Outcome = json.loads(noted)
        return outcome

    async def attempt(self, do: Callable[[], Awaitable[str]]) -> str:
        """Run what no transaction holds, such as a training or a change of adapter, at most once; its line for the owner, or that of
        the TwinError with which it failed. If it was interrupted before: a line that says so."""
        begun = False

        async def begin(connection: AsyncConnection) -> object:
            nonlocal begun
            begun = True
            return BEGUN

        noted = await self.effect(begin)
        if not begun:
            return INTERRUPTED if noted == BEGUN else str(noted)
        try:
            line = await do()
        except TwinError as exc:
            line = str(exc)
        async with self._store.begin() as connection:
            await inbox.note_outcome(connection, self._update_id, json.dumps(line))
        return line
