"""What is read goes to disk while the next pages are being read: pages of several dialogs in one transaction, watermarks with them.

A transaction costs a wait for the disk, so it takes all that has come in since the one before: few and large ones where pages
come fast, one every WRITE_SECONDS where they come slowly. Dialogs are written in the order of reading, and nothing is written
after a transaction that failed: a watermark would come to stand above messages that were lost with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from trainer.telegram_messages import to_message
from twin.store import dialogs, messages
from twin.turns import Message

WRITE_ROWS = 4000  # messages at which a transaction begins
WRITE_SECONDS = 5.0  # or when the oldest has waited so long: a kill costs no more than these and those that are being written
WAIT_ROWS = 10_000  # messages that wait for the disk at most


@dataclass
class Part:
    """What one dialog gets in a transaction: `rows` oldest first, `edited` among them, `gone`: ids that are no more."""

    dialog_id: int
    rows: list[Message]
    edited: list[Message]
    gone: Sequence[int]


@dataclass
class Saving:
    """The writing of one collection. `tell` is called after each transaction."""

    store: AsyncEngine
    tell: Callable[[], None]
    new: dict[int, int] = field(default_factory=dict)  # of each dialog that is read
    edited: int = 0
    deleted: int = 0
    excluded: set[int] = field(default_factory=set)  # found so when their messages were to be written
    _parts: list[Part] = field(default_factory=list)
    _rows: int = 0
    _since: float = 0.0  # when the oldest of `_parts` came, on the monotonic clock
    _task: asyncio.Task[None] | None = None

    async def add(self, dialog_id: int, raws: Sequence[Any], again: Mapping[int, tuple[str, str]], gone: Sequence[int] = ()) -> None:
        """Have messages written, as Telegram gave them. `again`: text and kind of those that were stored before.

        Raises what went wrong with a transaction before."""
        # At once, and not when they are written: Telethon's objects are many, and Python's garbage collector visits all that live.
        rows = [row for raw in raws if (row := to_message(raw, dialog_id))]
        edited = [row for row in rows if again.get(row.message_id, (row.text, row.kind)) != (row.text, row.kind)] if again else []
        if not self._parts:
            self._since = time.monotonic()
        last = self._parts[-1] if self._parts else None
        if last and last.dialog_id == dialog_id and not last.gone and not gone:
            last.rows += rows
            last.edited += edited
        else:
            self._parts.append(Part(dialog_id, rows, edited, gone))
        self._rows += len(rows)
        if self._task and (self._task.done() or self._rows >= WAIT_ROWS):
            await self._written()
        if self._task is None and (self._rows >= WRITE_ROWS or time.monotonic() - self._since >= WRITE_SECONDS):
            self._write()

    async def finish(self) -> None:
        """All that was added is on disk, or the error that prevented it is raised."""
        await self._written()
        if self._parts:
            self._write()
            await self._written()

    def _write(self) -> None:
        parts, self._parts, self._rows = self._parts, [], 0
        self._task = asyncio.create_task(self._transaction(parts))

    async def _written(self) -> None:
        if self._task is None:
            return
        await asyncio.wait([self._task])  # unlike `await task`, it is not cancelled together with who waits for it
        task, self._task = self._task, None
        if task.cancelled() or task.exception():
            self._parts, self._rows = [], 0
        task.result()

    async def _transaction(self, parts: Sequence[Part]) -> None:
        """All of it or nothing. A dialog that was excluded meanwhile gets nothing more."""
        now = datetime.now(UTC)
        new: list[tuple[Part, int]] = []
        async with self.store.begin() as connection:
            excluded = await dialogs.excluded(connection)
            for part in parts:
                if part.dialog_id not in excluded:
                    new.append((part, await _save(connection, part, now)))
        for dialog_id in excluded & {part.dialog_id for part in parts}:
            self.excluded.add(dialog_id)
            self.new.pop(dialog_id, None)
        for part, count in new:
            self.new[part.dialog_id] = self.new.get(part.dialog_id, 0) + count
            self.edited += len(part.edited)
            self.deleted += len(part.gone)
        self.tell()


async def _save(connection: AsyncConnection, part: Part, now: datetime) -> int:
    """The number of messages that were not there before."""
    new = await messages.save(connection, part.rows)
    if part.rows:
        await dialogs.advance_watermark(connection, part.dialog_id, part.rows[-1].message_id, now)
    for row in part.edited:
        await messages.edit(connection, row.channel, part.dialog_id, row.message_id, row.text, now, kind=row.kind)
    if part.gone:
        await messages.mark_deleted(connection, "account", part.dialog_id, part.gone, now)
    return new
