"""The updates waiting for one bot: kept until confirmed by an offset, delivered, or a day old."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from sandbox.botapi.errors import CONFLICT_POLLER, ApiError
from sandbox.faults import Faults

KEPT_SECONDS = 86_400  # "updates ... will not be kept longer than 24 hours", https://core.telegram.org/bots/api#getting-updates
ONLY_ON_REQUEST = frozenset({"chat_member", "message_reaction", "message_reaction_count"})

Update = dict[str, Any]


class Inbox:
    """`first_update_id` is taken from the clock, so a sandbox started later never reuses ids that a client has stored."""

    def __init__(self, clock: Callable[[], float], faults: Faults) -> None:
        self._clock = clock
        self._faults = faults
        self._ids = itertools.count(max(1, int((clock() - 1_700_000_000) * 10)))
        self._pending: deque[tuple[float, Update]] = deque()  # arrived at, update
        self._waiter: asyncio.Future[None] | None = None
        self.allowed: frozenset[str] | None = None  # None: all but ONLY_ON_REQUEST

    def __len__(self) -> int:
        self._expire()
        return len(self._pending)

    def allow(self, kinds: Iterable[str]) -> None:
        """Set allowed_updates; it holds for later updates only, as on the real server. Empty means the default."""
        self.allowed = frozenset(kinds) or None

    def push(self, kind: str, payload: dict[str, Any]) -> int | None:
        """Queue an update and wake the poller; None if this kind is not wanted."""
        if kind not in self.allowed if self.allowed is not None else kind in ONLY_ON_REQUEST:
            return None
        update_id = next(self._ids)
        self._pending.append((self._clock(), {"update_id": update_id, kind: payload}))
        self._wake()
        return update_id

    def confirm(self, offset: int) -> None:
        """Forget all updates below `offset`; a negative one keeps only that many of the newest."""
        if offset < 0:
            while len(self._pending) > -offset:
                self._pending.popleft()
        while self._pending and self._pending[0][1]["update_id"] < offset:
            self._pending.popleft()

    def drop(self) -> None:
        self._pending.clear()

    def end_poll(self, reason: str = CONFLICT_POLLER) -> None:
        """Answer the waiting poller, if any, with 409."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ApiError(409, reason))

    async def poll(self, *, offset: int, limit: int, timeout: float) -> list[Update]:
        """The oldest waiting updates, or none after `timeout` seconds. The poller who came earlier gets 409."""
        self.end_poll()
        self.confirm(offset)
        if not len(self) and timeout > 0:
            await self.wait(timeout)
        return self.batch(limit)

    async def wait(self, timeout: float | None = None) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        try:
            await asyncio.wait_for(waiter, timeout)
        except TimeoutError:
            pass
        finally:
            if self._waiter is waiter:
                self._waiter = None

    def batch(self, limit: int) -> list[Update]:
        """Up to `limit` of the oldest updates, as the faults in force would have them arrive."""
        self._expire()
        updates = [update for _, update in itertools.islice(self._pending, limit)]
        if updates and self._faults.take("updates", actions=["duplicate"]):
            updates = [update for update in updates for _ in range(2)]
        if len(updates) > 1 and self._faults.take("updates", actions=["reorder"]):
            updates.reverse()
        return updates

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _expire(self) -> None:
        oldest = self._clock() - KEPT_SECONDS
        while self._pending and self._pending[0][0] < oldest:
            self._pending.popleft()
