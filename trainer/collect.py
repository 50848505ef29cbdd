"""Telegram -> the store: what is new in the owner's private chats, by a watermark per dialog.

scan the dialogs -> read each one that changed, oldest first -> save a batch and its watermark in one transaction

Killed anywhere, the next run goes on at the last batch. Private chats with people only: bots, groups, channels, saved
messages, deleted accounts and Telegram's own accounts are left out, and a dialog that is excluded is not even asked for.
Messages of the last days are read once more, so that edits and deletions are followed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy.ext.asyncio import AsyncEngine

from trainer.session import full_name
from trainer.telegram_messages import to_message
from trainer.telethon_calls import RefusedError, call
from twin.progress import Progress, silent
from twin.settings import Settings
from twin.store import dialogs, messages
from twin.turns import Message

if TYPE_CHECKING:
    from telethon import TelegramClient

BATCH = 500  # messages a transaction: a kill costs five requests at most, and fsync is no longer what takes the time
RECENT = timedelta(days=2)  # how far back edits and deletions are followed; mostly one request a dialog
TELEGRAM_ACCOUNTS = frozenset({777000, 333000, 489000, 1271266957})  # service notifications, codes, replies

Reason = Literal["group", "channel", "bot", "deleted account", "saved messages", "Telegram", "excluded", "refused"]


@dataclass(frozen=True)
class CollectReport:
    """`dialogs` were read, `unchanged` had nothing new; `skipped` counts dialogs, `by_dialog` new messages of each."""

    dialogs: int
    unchanged: int
    new_messages: int
    edited: int
    deleted: int
    skipped: Mapping[Reason, int]
    by_dialog: Mapping[int, int]


async def collect(
    store: AsyncEngine, client: TelegramClient, settings: Settings, progress: Progress = silent, *, now: datetime | None = None
) -> CollectReport:
    """Read what is new. Raises SessionError, FloodError or TelegramError; what was read until then is kept.

    `progress` counts dialogs. A single dialog that Telegram refuses to show is skipped as "refused".
    """
    run = _Run(store, client, settings, progress, (now or datetime.now(UTC)) - RECENT)
    run.found = [dialog async for dialog in _calls(client.iter_dialogs(), settings)]
    for dialog in run.found:
        run.tell()
        if reason := left_out(dialog.entity):
            run.skipped[reason] += 1
        else:
            try:
                await run.read(dialog)
            except RefusedError:
                run.skipped["refused"] += 1
        run.done += 1
    run.tell()
    return run.report()


def left_out(entity: Any) -> Reason | None:
    """Why this is not a private chat with a person; None if it is one. `entity` is a Telethon User, Chat or Channel."""
    shape = type(entity).__name__
    if shape != "User":
        return "channel" if shape.startswith("Channel") and getattr(entity, "broadcast", False) else "group"
    if entity.is_self:
        return "saved messages"
    if entity.id in TELEGRAM_ACCOUNTS:
        return "Telegram"
    if entity.bot:
        return "bot"
    return "deleted account" if entity.deleted else None


@dataclass
class _Run:
    """One collection: what it works with and what it has counted."""

    store: AsyncEngine
    client: TelegramClient
    settings: Settings
    progress: Progress
    since: datetime  # messages from then on are read again
    found: list[Any] = field(default_factory=list)  # Telethon's dialogs
    done: int = 0
    unchanged: int = 0
    edited: int = 0
    deleted: int = 0
    skipped: Counter[Reason] = field(default_factory=Counter)
    new: dict[int, int] = field(default_factory=dict)  # of each dialog that was read

    def tell(self) -> None:
        self.progress(self.done, len(self.found), f"{sum(self.new.values()):,} new messages")

    def report(self) -> CollectReport:
        new = {dialog_id: count for dialog_id, count in self.new.items() if count}
        skipped = dict(sorted(self.skipped.items()))
        return CollectReport(len(self.new), self.unchanged, sum(new.values()), self.edited, self.deleted, skipped, new)

    async def read(self, dialog: Any) -> None:
        person = dialog.entity
        async with self.store.begin() as connection:
            known = await dialogs.get(connection, person.id)
            if known and known.excluded:
                self.skipped["excluded"] += 1
                return
            await dialogs.save(connection, person.id, name=full_name(person), username=person.username)
            watermark = known.watermark if known else 0
            recent = await messages.sent_since(connection, "account", person.id, self.since)
        # What an import brought from above the watermark is still to be collected.
        again = {message_id: text for message_id, text in recent.items() if message_id <= watermark}
        if dialog.message is None or (dialog.message.id <= watermark and not again):
            self.unchanged += 1
            return
        start = min(again, default=watermark + 1) - 1  # min_id is exclusive
        seen = await self._read_from(dialog, start, again)
        # Only a reading that reached the newest message proves that what it did not meet is gone.
        if (dialog.message.id in seen or dialog.message.id <= start) and (gone := sorted(again.keys() - seen)):
            async with self.store.begin() as connection:
                await messages.mark_deleted(connection, "account", person.id, gone, datetime.now(UTC))
            self.deleted += len(gone)

    async def _read_from(self, dialog: Any, start: int, again: Mapping[int, str]) -> set[int]:
        """Save everything above `start`; returns the ids met. `again` has the texts of what was stored before."""
        dialog_id = dialog.entity.id
        self.new.setdefault(dialog_id, 0)
        wait_seconds = 0 if self.settings.telegram.server else 1  # Telegram floods at about 10 requests in 30 s
        history = self.client.iter_messages(dialog.input_entity, limit=None, min_id=start, reverse=True, wait_time=wait_seconds)
        seen: set[int] = set()
        batch: list[Message] = []
        try:
            async for raw in _calls(history, self.settings):
                seen.add(raw.id)
                if row := to_message(raw, dialog_id):
                    batch.append(row)
                if len(batch) >= BATCH:
                    await self._save(dialog_id, batch, again)
                    batch = []
        finally:
            # What was read lies right above the watermark, so it counts, whatever ended the reading.
            if batch:
                await self._save(dialog_id, batch, again)
        return seen

    async def _save(self, dialog_id: int, batch: list[Message], again: Mapping[int, str]) -> None:
        """A batch and its watermark, or neither. A dialog that was excluded meanwhile (`twin forget`) gets nothing more."""
        now = datetime.now(UTC)
        edited = [row for row in batch if again.get(row.message_id, row.text) != row.text]
        async with self.store.begin() as connection:
            dialog = await dialogs.get(connection, dialog_id)
            if dialog is None or dialog.excluded:
                return
            new = await messages.save(connection, batch)
            for row in edited:
                await messages.edit(connection, row.channel, dialog_id, row.message_id, row.text, now)
            await dialogs.advance_watermark(connection, dialog_id, batch[-1].message_id, now)
        self.new[dialog_id] += new
        self.edited += len(edited)
        self.tell()


async def _calls(iterator: Any, settings: Settings) -> AsyncIterator[Any]:
    """The items of a Telethon iterator. Any step may be a request, so each one is a call with its time limit."""
    steps = aiter(iterator)
    while True:
        try:
            item = await call(anext(steps), settings)
        except StopAsyncIteration:
            return
        yield item
