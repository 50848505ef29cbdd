"""Telegram Desktop's export -> the store: one chat or the whole account, whatever size, however damaged.

A message that cannot be read is counted and left out; reading goes on at the next one, even where the JSON is broken.
Only a fault behind which nothing can be found ends the import, and what was read before it is kept. Private chats only.
No file that the export names is ever opened.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from trainer.export_messages import SHIFT, Exported, Unreadable, cleaned, is_old, not_before, sender_id, to_exported, unshifted
from trainer.import_report import EXPORT_MEND, Fault, ImportReport, find_export
from trainer.json_stream import HopelessFault, JsonFault, JsonReader
from twin.errors import InputError
from twin.progress import Progress, silent
from twin.store import dialogs, messages, ownership
from twin.turns import TELEGRAM_ACCOUNTS, Message

BROKEN = "broken JSON"
MOST_KINDS = 40  # of chats, in the report
SHOWN = 60  # characters of a key or a type that a sentence quotes
BATCH = 1000  # messages a transaction
AGAIN_MEND = "Export once more, or copy the file again; importing twice does no harm."
# Where a message or a chat begins. Quotes inside a text are escaped, so a text cannot look like these.
# The second way of each is that of a tool which has sorted the keys.
NEXT_MESSAGE = re.compile(r'\{\s*(?:"id"\s*:\s*-?\d+\s*,\s*"type"\s*:\s*"(?:message|service|unsupported)"|"(?:actor|action|date)"\s*:\s*")')
NEXT_CHAT = re.compile(
    r'\{\s*"name"\s*:\s*(?:null|"[^"\\]*+(?:\\.[^"\\]*+)*+")\s*,\s*"type"\s*:\s*"\w+"\s*,\s*"id"\s*:|"left_chats"\s*:'
    r'|\{\s*"id"\s*:\s*-?\d+\s*,\s*"messages"\s*:'
)
HEADER = ("name", "type", "id")
NOTHING = re.compile(r"(?!)")
# What closes a chat whose keys are sorted: its name and type come behind its messages.
CHATS_END = re.compile(r'"name"\s*:\s*(null|"[^"\\]*+(?:\\.[^"\\]*+)*+")\s*,\s*"type"\s*:\s*"(\w+)"\s*\}')


async def import_export(store: AsyncEngine, path: Path, *, owner_id: int | None = None, progress: Progress = silent) -> ImportReport:
    """Import `path`, a result.json or its folder. `progress` counts bytes.

    Raises InputError, naming the place and what was expected, if nothing could be read or the export is not the owner's.
    """
    file = find_export(path)
    _require_text(file)
    size = file.stat().st_size
    try:
        async with store.connect() as connection:
            if owner_id is None:
                owner_id = await ownership.account(connection)
            else:
                await ownership.require(connection, owner_id, "TWIN_OWNER__ID", mend="Set it back, or import into another data folder.")
        with JsonReader(file) as reader:
            run = _Run(store, file, reader, owner_id, progress, size)
            try:
                await run.root()
                if reader.peek():
                    run.broken_off = f"{file} goes on at byte {reader.offset:,} with a second document, which is not read."
            except (JsonFault, HopelessFault) as fault:
                run.broken_off = run.sentence(fault)
                if not run.read:
                    raise InputError(run.broken_off, mend=AGAIN_MEND) from fault
    except OSError as exc:
        raise InputError(f"{file} cannot be read: {exc.strerror}.") from exc
    progress(size, size, f"{sum(run.read.values()):,} messages")
    return run.report()


MAGIC = {b"PK\x03\x04": "a ZIP archive", b"\x1f\x8b": "a gzip archive", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
LOOKED_AT = 2**20  # bytes of the beginning
MOST_BROKEN = 8  # sequences there that are no UTF-8: so many may be damage, more are another encoding


def _require_text(file: Path) -> None:
    """Raises InputError for what is no UTF-8: an archive, another encoding. Single damaged bytes cost their message alone."""
    with file.open("rb") as opened:
        head = opened.read(LOOKED_AT)
    what = next((name for magic, name in MAGIC.items() if head.startswith(magic)), None)
    if what is None and head[:2].count(0) == 1:
        what = "UTF-16"
    if what is None:
        broken = head.decode("utf-8", "surrogateescape").encode("utf-8", "replace").count(b"?") - head.count(b"?")
        what = "not UTF-8: a program has saved it in another encoding" if broken > MOST_BROKEN else None
    if what:
        mend = "Unpack it." if "archive" in what else "Take the file as Telegram Desktop wrote it; opened and saved again it is another."
        raise InputError(f"{file} is {what}; expected the text of a result.json in UTF-8.", mend=mend)


@dataclass
class _Run:
    """One import: what it works with, where it is and what it has counted."""

    store: AsyncEngine
    file: Path
    reader: JsonReader
    owner_id: int | None  # as given, or as the file says
    progress: Progress
    size: int
    is_confirmed: bool = False  # the file names this owner as well
    is_foreign: bool = False  # it names another one
    senders: Counter[int] = field(default_factory=Counter)  # other than the contacts, while no owner is known
    place: str = ""  # as in chats.list[3].messages[120]
    read: Counter[int] = field(default_factory=Counter)
    new: int = 0
    skipped_dialogs: Counter[str] = field(default_factory=Counter)
    skipped_messages: Counter[str] = field(default_factory=Counter)
    faults: dict[str, Fault] = field(default_factory=dict)
    local_times: int = 0
    latest: tuple[int, int, datetime] | None = None  # the message with the highest id of the dialog at hand: dialog, id, time
    broken_off: str | None = None

    def report(self) -> ImportReport:
        notes = []
        if self.local_times:
            notes.append(f"{self.local_times:,} times have no time zone (an old export): they were read as this machine's local time.")
        return ImportReport(
            self.file,
            self._owner(),
            sum(self.read.values()),
            self.new,
            dict(self.read),
            dict(sorted(self.skipped_dialogs.items())),
            dict(sorted(self.skipped_messages.items())),
            dict(sorted(self.faults.items())),
            tuple(notes),
            self.broken_off,
        )

    def _owner(self) -> int | None:
        """Whose export it is, as far as that is known: who is not the contact."""
        return self.owner_id if self.owner_id is not None else next(iter(self.senders), None)

    def sentence(self, fault: JsonFault | HopelessFault) -> str:
        """Where reading ended, and what it met before if none of it could be read."""
        where = f"at byte {fault.offset:,}" + (f", in {self.place}" if self.place else "")
        if isinstance(fault, HopelessFault):
            said = f"{self.file} is so damaged that reading ended {where}: expected whole messages."
        else:
            said = f"{self.file} is damaged {where}: expected {fault.expected}."
        if not self.read and (before := self.faults.get(BROKEN)):
            said += f" Before it, {before.count:,} messages are broken JSON, the first in {before.first}."
        return said

    def fault(self, reason: str, place: str) -> None:
        known = self.faults.get(reason)
        self.faults[reason] = Fault(known.count + 1, known.first) if known else Fault(1, place)

    async def root(self) -> None:
        """The whole account, or one chat, whose object is then the root."""
        if self.reader.peek() != "{":
            raise InputError(f"{self.file} is not a Telegram Desktop export: expected an object ({{) at byte 0.", mend=EXPORT_MEND)
        header: dict[str, Any] = {}
        known = False
        for key in self.reader.members():
            self.place = _shortened(key)
            if key in HEADER:
                header[key] = self.reader.value()
            elif key == "personal_information":
                self._note_owner(self.reader.value())
            elif key == "messages":
                known = True
                await self._messages(self._complete(header), "messages")
            elif key == "chats":
                known = True
                await self._chats()
            else:
                self.reader.skip()
        if not known:
            raise InputError(f'{self.file} is not a Telegram Desktop export: expected "chats" or "messages".', mend=EXPORT_MEND)
        self.place = ""

    def _note_owner(self, information: Any) -> None:
        found = information.get("user_id") if isinstance(information, dict) else None
        if not isinstance(found, int) or isinstance(found, bool):
            return
        if self.owner_id not in (None, found):
            raise self._not_the_owners(found, "personal_information.user_id")
        self.owner_id, self.is_confirmed = found, True

    def _check_owner(self, sender: int, place: str) -> None:
        """A private chat has two sides: who is not the contact must be the owner. Raises InputError or Unreadable."""
        if self.owner_id is None:
            self.senders[sender] += 1
            if len(self.senders) > 1:
                self.is_foreign = True
                what = f"{self.file} has more than two senders in a chat of two: {place} is neither the contact nor who wrote before."
                raise InputError(what, mend="Set TWIN_OWNER__ID to the account that the export is of, and import it again.")
        elif sender == self.owner_id:
            self.is_confirmed = True
        elif self.is_confirmed:
            raise Unreadable("from_id", "the contact or the owner")
        else:
            raise self._not_the_owners(sender, place)

    def _not_the_owners(self, found: int, place: str) -> InputError:
        self.is_foreign = True
        what = f"{self.file} is the export of account {found} ({place}); expected the owner's, {self.owner_id}."
        return InputError(what, mend="Import the owner's own export, or mend TWIN_OWNER__ID.")

    async def _chats(self) -> None:
        for key in self.reader.members():
            self.place = f"chats.{_shortened(key)}"
            if key != "list":
                self.reader.skip()
                continue
            self.reader.open_array()
            for index in itertools.count():
                self.place = f"chats.list[{index}]"
                try:
                    if not self.reader.more():
                        break
                    await self._chat(self.place)
                except JsonFault as fault:
                    place = self.place
                    if not self.reader.go_to(NEXT_CHAT, NOTHING) or self.reader.peek() != "{":
                        raise
                    self.fault(BROKEN, f"{place}, byte {fault.offset:,}")

    async def _chat(self, place: str) -> None:
        header: dict[str, Any] = {}
        for key in self.reader.members():
            self.place = f"{place}.{_shortened(key)}"
            if key in HEADER:
                header[key] = self.reader.value()
            elif key == "messages":
                await self._messages(self._complete(header), f"{place}.messages")
            else:
                self.reader.skip()

    def _complete(self, header: dict[str, Any]) -> dict[str, Any]:
        """The chat's name, type and id. Telegram writes them before the messages; a tool that sorts keys may not."""
        if "type" in header and "id" in header:
            return header
        with self.reader.ahead() as ahead:
            try:
                ahead.skip()
                for key in ahead.members_behind():
                    if key in HEADER:
                        header[key] = ahead.value()
                    else:
                        ahead.skip()
            except JsonFault:  # a broken message, which is left out when the messages are read
                end = ahead.go_to(CHATS_END, NEXT_CHAT)
                if not end:
                    raise
                header |= {"name": json.loads(end[1]), "type": end[2]}
        return header

    async def _messages(self, header: Mapping[str, Any], place: str) -> None:
        dialog_id, kind, name = header.get("id"), header.get("type"), header.get("name")
        if kind != "personal_chat":
            self._leave_out(kind, place)
        elif not isinstance(dialog_id, int) or isinstance(dialog_id, bool) or not 0 < dialog_id < 2**63:
            self.fault("chat without a usable id", place.removesuffix("messages") + "id")
            self.reader.skip()
        elif dialog_id in TELEGRAM_ACCOUNTS:
            self.skipped_dialogs["Telegram"] += 1
            self.reader.skip()
        elif await self._is_excluded(dialog_id):
            self.skipped_dialogs["excluded"] += 1
            self.reader.skip()
        else:
            await self._dialog(dialog_id, cleaned(name) if isinstance(name, str) else "", place)

    def _leave_out(self, kind: Any, place: str) -> None:
        kind = _shortened(kind) if isinstance(kind, str) else None
        if place == "messages":
            raise InputError(
                f'{self.file} is the export of one chat of type "{kind}"; expected a private chat ("personal_chat").', mend=EXPORT_MEND
            )
        self.skipped_dialogs[kind if kind and len(self.skipped_dialogs) < MOST_KINDS else "of unknown type"] += 1
        self.reader.skip()

    async def _is_excluded(self, dialog_id: int) -> bool:
        async with self.store.connect() as connection:
            known = await dialogs.get(connection, dialog_id)
        return known is not None and known.excluded

    async def _dialog(self, dialog_id: int, name: str, place: str) -> None:
        """All messages of one private chat, in batches. What was read is saved whatever ends the reading."""
        batch: list[Exported] = []
        self.reader.open_array()
        try:
            for index in itertools.count():
                self.place = f"{place}[{index}]"
                try:
                    if not self.reader.more():
                        break
                    raw = self.reader.value()
                except JsonFault as fault:
                    if not self.reader.go_to(NEXT_MESSAGE, NEXT_CHAT):
                        raise
                    self.fault(BROKEN, f"{self.place}, byte {fault.offset:,}")
                else:
                    if dialog_id >= SHIFT and is_old(raw):
                        dialog_id = unshifted(dialog_id)
                    if found := self._message(raw, dialog_id, self.place):
                        batch.append(found)
                    if len(batch) >= BATCH:
                        await self._save(dialog_id, name, batch)
                        batch = []
        finally:
            # Not so for an export that turns out to be another person's.
            if batch and not self.is_foreign:
                await self._save(dialog_id, name, batch)

    def _message(self, raw: Any, dialog_id: int, place: str) -> Exported | None:
        try:
            sender = sender_id(raw)
            if sender is not None and sender != dialog_id:
                self._check_owner(sender, f"{place}.from_id")
            found = to_exported(raw, dialog_id, sender=sender)
        except Unreadable as exc:
            key = re.sub(r"\[\d+\]", "", exc.key)
            self.fault(f"{key or 'message'} is not {exc.expected}", f"{place}.{exc.key}".rstrip("."))
            return None
        if found is None:
            self.skipped_messages["unsupported by Telegram Desktop"] += 1
        return found

    async def _save(self, dialog_id: int, name: str, batch: list[Exported]) -> None:
        """A batch in one transaction. What was collected is newer than any export, so only imported rows are replaced."""
        async with self.store.begin() as connection:
            rows = await self._in_order(connection, dialog_id, batch)
            known = await dialogs.get(connection, dialog_id)
            if known is None or not (known.name or known.excluded):
                await dialogs.save(connection, dialog_id, name=name, username=known.username if known else None)
            if known is None or not known.excluded:
                self.new += await messages.save(connection, rows, replaces="imported")
                if (owner := self._owner()) is not None:
                    await ownership.claim(connection, owner)
        self.read[dialog_id] += len(batch)
        self.local_times += sum(found.has_local_time for found in batch)
        self.progress(self.reader.offset, self.size, f"{sum(self.read.values()):,} messages")

    async def _in_order(self, connection: AsyncConnection, dialog_id: int, batch: list[Exported]) -> list[Message]:
        """The rows by id, with the times of an hour that came twice told apart by it (`not_before`)."""
        if not any(found.has_local_time for found in batch):
            return [found.message for found in batch]
        rows: list[Message] = []
        for found in sorted(batch, key=lambda found: found.message.message_id):
            message_id = found.message.message_id
            if self.latest is None or self.latest[0] != dialog_id or self.latest[1] >= message_id:
                earlier = await messages.sent_before(connection, "account", dialog_id, message_id)  # by an import before this one
            else:
                earlier = self.latest[2]
            message = not_before(found, earlier).message if earlier else found.message
            self.latest = dialog_id, message_id, message.sent_at
            rows.append(message)
        return rows


def _shortened(key: str) -> str:
    return key if len(key) <= SHOWN else f"{key[:SHOWN]}…"
