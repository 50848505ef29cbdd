"""Telegram -> the store: what is new in the owner's private chats, by a watermark per dialog.

scan the dialogs -> read each one that changed, oldest first -> save rows and watermarks in one transaction (trainer.saving)

Killed anywhere, the next run goes on at the watermarks. Private chats with people only: bots, groups, channels, saved
messages, deleted accounts and Telegram's own accounts are left out, and the history of a dialog that is excluded is never
asked for. Messages of the last days (`collect.follow_days`) are read once more, so that edits and deletions are followed.

What Telegram asks for is obeyed (trainer.flood_waits, trainer.takeout, trainer.lost_session) and outlives this process.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy.ext.asyncio import AsyncEngine

from trainer import lost_session, takeout
from trainer.flood_waits import FloodWaits
from trainer.history import Account
from trainer.saving import Saving
from trainer.session import disconnect, full_name, open_client
from trainer.telethon_calls import RefusedError, RevokedError, call, library
from twin import undecodable
from twin.errors import SessionError, UndecodableError
from twin.progress import Progress, silent
from twin.settings import Settings
from twin.store import dialogs, messages, ownership
from twin.store.dialogs import Dialog
from twin.turns import TELEGRAM_ACCOUNTS

if TYPE_CHECKING:
    from telethon import TelegramClient

MEND = "Sign in as the owner with `twin init`, or take another data folder."
LOOK_SECONDS = 1.0  # how old the word that a dialog is not excluded may be when its history is asked for

Reason = Literal["group", "channel", "bot", "deleted account", "saved messages", "Telegram", "excluded", "refused", "undecodable"]


@dataclass(frozen=True)
class CollectReport:
    """`dialogs` were read, `unchanged` had nothing new, `discovered` were not known before; `skipped` counts dialogs, `by_dialog`
    new messages of each. `takeout`: through Telegram's data export; `takeout_from`: when Telegram will allow one, if not yet."""

    dialogs: int
    unchanged: int
    discovered: int
    new_messages: int
    edited: int
    deleted: int
    skipped: Mapping[Reason, int]
    by_dialog: Mapping[int, int]
    takeout: bool
    takeout_from: datetime | None


async def collect(store: AsyncEngine, settings: Settings, progress: Progress = silent, *, now: datetime | None = None) -> CollectReport:
    """Read what is new. Raises SessionError, FloodError or TelegramError; what was read until then is kept. InputError: the store is
    another account's.

    `progress` counts dialogs. A single dialog that Telegram refuses to show is skipped as "refused". A FloodError names the
    time when collecting goes on; before it no run calls Telegram. A session that Telegram has ended is told to the owner once.
    """
    at = now or datetime.now(UTC)
    shown = _Shown(progress)
    waits = FloodWaits(store, settings, shown.wait)
    await lost_session.refuse_if_lost(store, settings)
    await waits.kept()
    try:
        client = await waits.patiently(lambda: open_client(settings, sleeps=False))  # FloodWaits sleeps
        try:
            await _require_owners(store, settings, client)
            run = _Run(store, settings, Account(store, client, settings, waits), shown, at - timedelta(days=settings.collect.follow_days))
            await run.all()
            await takeout.finish(store, client, settings, waits)
        finally:
            await disconnect(client, settings)
    except RevokedError as exc:
        await lost_session.note(store, settings, exc, at)
        raise
    return run.report(await takeout.delayed_until(store))


async def _require_owners(store: AsyncEngine, settings: Settings, client: TelegramClient) -> None:
    """The store is the account's whose session it is, from now on at the latest. Raises InputError or SessionError if it is another's."""
    me = (await call(client.get_me(input_peer=True), settings)).user_id
    async with store.begin() as connection:
        await ownership.require(connection, me, "the kept session", mend=MEND)
        if settings.owner.id not in (None, me):
            raise SessionError(f"The kept session is of account {me}, not of the owner's, {settings.owner.id}.", mend=MEND)
        await ownership.claim(connection, me)


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
class _Shown:
    """What the progress shows: how far it is, or the wait that Telegram asks for."""

    progress: Progress
    done: int = 0
    total: int | None = None
    note: str = ""

    def tell(self, note: str) -> None:
        self.note = note
        self.progress(self.done, self.total, note)

    def wait(self, words: str) -> None:
        self.progress(self.done, self.total, words or self.note)


@dataclass
class _Run:
    """One collection: what it works with and what it has counted."""

    store: AsyncEngine
    settings: Settings
    account: Account
    shown: _Shown
    since: datetime  # messages from then on are read again
    unchanged: int = 0
    discovered: int = 0
    takeout: bool = False
    skipped: Counter[Reason] = field(default_factory=Counter)
    saving: Saving = field(init=False)
    excluded: set[int] = field(default_factory=set)  # as of `_looked_at`, on the monotonic clock
    _looked_at: float = 0.0

    def __post_init__(self) -> None:
        self.saving = Saving(self.store, self._tell)

    def report(self, takeout_from: datetime | None) -> CollectReport:
        new = {dialog_id: count for dialog_id, count in self.saving.new.items() if count}
        return CollectReport(
            dialogs=len(self.saving.new),
            unchanged=self.unchanged,
            discovered=self.discovered,
            new_messages=sum(new.values()),
            edited=self.saving.edited,
            deleted=self.saving.deleted,
            skipped=dict(sorted(self.skipped.items())),
            by_dialog=new,
            takeout=self.takeout,
            takeout_from=takeout_from,
        )

    async def all(self) -> None:
        found = await self.account.dialogs()
        private = await self._private(found)
        behind = [dialog.message.id - known.watermark for dialog, known in private if dialog.message]
        if await takeout.is_wanted(self.store, self.settings, behind):
            export = await takeout.begin(self.store, self.account.client, self.settings, self.account.waits)
            if export is not None:
                self.account.through, self.takeout = export, True
        self.shown.done, self.shown.total = len(found) - len(private), len(found)
        try:
            for dialog, known in private:
                self._tell()
                try:
                    await self._read(dialog, known)
                except RefusedError:
                    self.skipped["refused"] += 1
                except UndecodableError as exc:
                    self.skipped["undecodable"] += 1
                    async with self.store.begin() as connection:
                        await undecodable.note(connection, known.dialog_id, exc, datetime.now(UTC))
                self.shown.done += 1
            await self._follow_vanished({dialog.entity.id for dialog in found})
        finally:
            # What was read lies right above the watermark, so it counts, whatever ended the reading.
            await self.saving.finish()
        self._tell()

    def _tell(self) -> None:
        self.shown.tell(f"{sum(self.saving.new.values()):,} new messages")

    async def _private(self, found: Sequence[Any]) -> list[tuple[Any, Dialog]]:
        """The chats with people that are not excluded, as Telegram and as the store has them; new ones and new names are kept."""
        async with self.store.connect() as connection:
            known = {dialog.dialog_id: dialog for dialog in await dialogs.find(connection)}
        changed: dict[int, Any] = {}
        private: list[Any] = []
        for dialog in found:
            person = dialog.entity
            if reason := left_out(person):
                self.skipped[reason] += 1
            elif (was := known.get(person.id)) and was.excluded:
                self.skipped["excluded"] += 1
            else:
                private.append(dialog)
                self.discovered += was is None
                if was is None or (was.name, was.username) != (full_name(person), person.username):
                    changed[person.id] = person
        if changed:
            async with self.store.begin() as connection:
                known = {dialog.dialog_id: dialog for dialog in await dialogs.find(connection)}  # `twin forget` may have been quicker
                for person in changed.values():
                    if person.id not in known or not known[person.id].excluded:
                        await dialogs.save(connection, person.id, name=full_name(person), username=person.username)
                known = {dialog.dialog_id: dialog for dialog in await dialogs.find(connection)}
        self.excluded, self._looked_at = {dialog.dialog_id for dialog in known.values() if dialog.excluded}, time.monotonic()
        return [(dialog, known[dialog.entity.id]) for dialog in private]

    async def _read(self, dialog: Any, known: Dialog) -> None:
        """What is new in one dialog, and what has happened to its messages of the last days."""
        dialog_id = dialog.entity.id
        if not await self._still_wanted(dialog_id):  # excluded since the dialogs were listed
            self.skipped["excluded"] += 1
            return
        recent: Mapping[int, tuple[str, str]] = {}
        if known.watermark:
            async with self.store.connect() as connection:
                recent = await messages.sent_since(connection, "account", dialog_id, self.since)
        # What an import brought from above the watermark is still to be collected.
        again = {message_id: what for message_id, what in recent.items() if message_id <= known.watermark}
        if known.undecodable_with == library():
            self.skipped["undecodable"] += 1
            return
        newest = dialog.message.id if dialog.message else 0
        if newest <= known.watermark and not again:
            self.unchanged += 1
            return
        self.saving.new.setdefault(dialog_id, 0)
        start = min(again, default=known.watermark + 1) - 1
        seen: set[int] = set()
        pages = self.account.pages(dialog.input_entity, start, newest, lambda: self._still_wanted(dialog_id))
        async with aclosing(pages):
            async for page in pages:
                if again:
                    seen.update(raw.id for raw in page if type(raw).__name__ != "MessageEmpty")
                await self.saving.add(dialog_id, page, again)
        # Only a reading that reached the newest message proves that what it did not meet is gone.
        if (newest in seen or newest <= start) and (gone := sorted(again.keys() - seen)):
            await self.saving.add(dialog_id, (), again, gone)

    async def _still_wanted(self, dialog_id: int) -> bool:
        """Whether the next page may be asked for. `twin forget` and `twin contacts --exclude` do not wait for a collection's end."""
        if time.monotonic() - self._looked_at >= LOOK_SECONDS:
            await self._look()
        return dialog_id not in self.excluded and dialog_id not in self.saving.excluded

    async def _look(self) -> None:
        async with self.store.connect() as connection:
            self.excluded = await dialogs.excluded(connection)
        self._looked_at = time.monotonic()

    async def _follow_vanished(self, listed: set[int]) -> None:
        """A chat that the owner deleted is listed no more: its messages of the last days are asked for by their ids."""
        async with self.store.connect() as connection:
            missing = [d for d in await dialogs.find(connection) if d.dialog_id not in listed and d.watermark and not d.excluded]
            recent = {d: await messages.sent_since(connection, "account", d.dialog_id, self.since) for d in missing}
        for dialog, texts in recent.items():
            try:
                gone = await self.account.gone(sorted(message_id for message_id in texts if message_id <= dialog.watermark))
            except UndecodableError:
                self.skipped["undecodable"] += 1
                continue
            if gone:
                self.saving.new.setdefault(dialog.dialog_id, 0)
                await self.saving.add(dialog.dialog_id, (), texts, gone)
