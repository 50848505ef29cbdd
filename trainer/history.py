"""The owner's account, asked page by page: the dialogs, one dialog's history, messages by their ids.

Every request ends within `telegram.call_seconds`, obeys Telegram's waits, and keeps a second's distance from the one before.
Telethon's own `iter_messages` does the same requests. Ours save the last one of each dialog, which brings nothing: the list of
dialogs has told which message is the newest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncEngine

from trainer import takeout
from trainer.flood_waits import FloodWaits
from trainer.telethon_calls import RefusedError, call
from twin.settings import Settings

if TYPE_CHECKING:
    from telethon import TelegramClient

PAGE = 100  # as much as Telegram gives at once
TURNS_TO_THE_WIRE = 10  # of the event loop, that a request takes through Telethon; fewer only mean that it leaves later
PAUSE_SECONDS = 1.0  # Telegram floods the plain way at about 10 requests in 30 s


@dataclass
class Account:
    """`through` is the client itself, or that of an export (trainer.takeout)."""

    store: AsyncEngine
    client: TelegramClient
    settings: Settings
    waits: FloodWaits
    through: TelegramClient = field(init=False)
    _asked_at: float = field(default=-PAUSE_SECONDS, init=False)

    def __post_init__(self) -> None:
        self.through = self.client

    @property
    def pause_seconds(self) -> float:
        return 0.0 if self.settings.telegram.server or self.through is not self.client else PAUSE_SECONDS

    async def dialogs(self) -> list[Any]:
        """Telethon's Dialog objects, archived ones too."""
        steps = aiter(self.client.iter_dialogs())
        found = []
        while True:
            try:
                # Any step may be a request; one that met a wait is made again by the next step.
                found.append(await self.waits.patiently(lambda: call(anext(steps), self.settings)))
            except StopAsyncIteration:
                return found

    async def pages(self, peer: Any, after: int, newest: int, is_wanted: Callable[[], Awaitable[bool]]) -> AsyncGenerator[list[Any], None]:
        """What stands above the id `after`, oldest first, up to where Telegram has no more or `newest` is reached.

        A page is asked for as soon as the one before it has come, so that it is on its way while that one is worked on; before
        each request `is_wanted` says whether it may be made.
        """
        from telethon.tl import functions, types

        async def ask(after: int) -> Any:
            if not await is_wanted():
                return None
            # The page that ends just below `offset_id`, moved up by a page: the PAGE messages from `offset_id` on.
            request = functions.messages.GetHistoryRequest(
                peer, offset_id=after + 1, offset_date=None, add_offset=-PAGE, limit=PAGE, max_id=0, min_id=0, hash=0
            )
            return await self._ask(request)

        coming = asyncio.create_task(ask(after)) if after < newest else None
        try:
            while coming:
                answer = await coming
                page = sorted([raw for raw in answer.messages if raw.id > after], key=attrgetter("id")) if answer else []
                if not page:
                    return
                after = page[-1].id
                ends = not isinstance(answer, types.messages.MessagesSlice)  # this is all there is
                coming = None if ends or after >= newest else asyncio.create_task(ask(after))
                for _ in range(TURNS_TO_THE_WIRE if coming else 0):
                    await asyncio.sleep(0)
                yield page
        finally:
            if coming:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)  # nobody needs to know how it ended

    async def gone(self, message_ids: Sequence[int]) -> list[int]:
        """Which of these messages of private chats are no more. Their ids are the account's, so no chat has to be named."""
        from telethon.tl import functions, types

        found: list[int] = []
        for start in range(0, len(message_ids), PAGE):
            answer = await self._ask(functions.messages.GetMessagesRequest(list(message_ids[start : start + PAGE])))
            found += [message.id for message in answer.messages if isinstance(message, types.MessageEmpty)]
        return found

    async def _ask(self, request: Any) -> Any:
        if (pause := self._asked_at + self.pause_seconds - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        self._asked_at = time.monotonic()
        try:
            return await self.waits.patiently(lambda: call(self.through(request), self.settings))
        except RefusedError as exc:
            if self.through is self.client or not takeout.is_over(exc):
                raise
        await takeout.forget(self.store, self.client)
        self.through = self.client
        return await self._ask(request)
