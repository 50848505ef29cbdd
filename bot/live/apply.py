"""One difference -> the store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from bot.live.people import Person
from twin import account
from twin.settings import Settings
from twin.store import dialogs
from twin.turns import TELEGRAM_ACCOUNTS, Message

MADE_KEPT = 1000


@dataclass(frozen=True)
class News:
    """What happened in private chats: new messages oldest first, edited ones, ids of deleted ones."""

    messages: list[Message]
    edits: list[Message]
    deleted: list[int]


@dataclass
class Sends:
    """This process's own sends, from their request until the store has their outcome.

    A difference may hold a message whose request has not been answered, or whose answer has not been written down yet; neither
    must be taken for the owner's."""

    in_flight: dict[int, tuple[int, asyncio.Event]] = field(default_factory=dict)  # bubble id -> dialog id, set when answered
    made: dict[tuple[int, int], None] = field(default_factory=dict)  # (dialog id, message id), oldest first

    def begin(self, bubble_id: int, dialog_id: int) -> None:
        """A bubble whose answer is lost is settled by the difference, and the next one of its dialog may go before the time is up."""
        self.in_flight[bubble_id] = dialog_id, asyncio.Event()

    def end(self, bubble_id: int) -> None:
        self.in_flight.pop(bubble_id)[1].set()

    def unanswered(self, dialog_id: int) -> asyncio.Event | None:
        return next((answered for at, answered in self.in_flight.values() if at == dialog_id), None)

    def note(self, dialog_id: int, message_id: int) -> None:
        self.made[dialog_id, message_id] = None
        if len(self.made) > MADE_KEPT:
            del self.made[next(iter(self.made))]


class StillSending(Exception):
    """An own message may be what is being sent there right now: apply the same again when the answer is there."""

    def __init__(self, answered: asyncio.Event) -> None:
        super().__init__()
        self.answered = answered


async def apply(
    connection: AsyncConnection, news: News, people: Mapping[int, Person], sends: Sends, settings: Settings, now: datetime
) -> int:
    """Returns how many of the messages are the owner's own. Raises StillSending before it has said anything final."""
    left_out = await dialogs.excluded(connection)
    people = {dialog_id: who for dialog_id, who in people.items() if dialog_id not in left_out | TELEGRAM_ACCOUNTS}
    new = [message for message in news.messages if message.dialog_id in people]
    twins = {message.message_id for message in new if message.out and await _is_twins(connection, message, sends, settings, now)}
    by_hand = 0
    for message in new:
        who = people[message.dialog_id]
        if message.message_id in twins:
            continue
        if message.out:
            if answered := sends.unanswered(message.dialog_id):
                raise StillSending(answered)
            by_hand += await account.owner_wrote(connection, message, name=who.name, username=who.username, settings=settings, now=now)
        else:
            await account.contact_wrote(connection, message, name=who.name, username=who.username, settings=settings, now=now)
    for message in news.edits:
        if editor := people.get(message.dialog_id):
            await account.edited(connection, message, name=editor.name, username=editor.username, settings=settings, now=now)
    await account.deleted(connection, news.deleted, settings, now)
    return by_hand


async def _is_twins(connection: AsyncConnection, message: Message, sends: Sends, settings: Settings, now: datetime) -> bool:
    if (message.dialog_id, message.message_id) in sends.made:
        return True
    return await account.is_twins(connection, message, settings, now)
