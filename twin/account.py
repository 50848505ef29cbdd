"""What the live session brings from the owner's own chats, as the reply rules see it. Knows no Telegram library.

A difference is applied once, with the state that it leads to, so everything in it is news: a row that is there already was
brought by somebody else (the nightly collection, a connection) and says nothing about whether it was dealt with.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from twin import modes, replies, sending, takeover
from twin.replies import SUPERSEDED, supersede
from twin.settings import Settings
from twin.store import dialogs, drafts, due, messages, outbox
from twin.store.outbox import Bubble
from twin.turns import Message

CHANNEL = "account"
CLOCKS_APART = timedelta(seconds=60)  # Telegram dates a message by its own clock, and cuts the fraction of the second off


async def contact_wrote(
    connection: AsyncConnection, message: Message, *, name: str, username: str | None, settings: Settings, now: datetime
) -> bool:
    """True if a draft is due for it. What was written longer ago than a draft lives (the bot was off for days) is only kept."""
    known = await messages.get(connection, CHANNEL, message.dialog_id, message.message_id)
    if message.sent_at < now - timedelta(hours=settings.bot.expire_hours):
        await dialogs.save(connection, message.dialog_id, name=name, username=username)
        await messages.save(connection, [message])
        return False
    if known is None:
        return await replies.receive(connection, message, name=name, username=username, settings=settings, now=now)
    dialog = await dialogs.get(connection, message.dialog_id)
    if known.source != "collected" or message.kind == "service" or await modes.effective(connection, dialog, settings) == "off":
        return False
    newest = await drafts.newest(connection, CHANNEL, message.dialog_id)
    if (newest and newest.answers_message_id >= message.message_id) or await due.get(connection, CHANNEL, message.dialog_id):
        return False
    await supersede(connection, CHANNEL, message.dialog_id, SUPERSEDED, now)
    await due.put(connection, CHANNEL, message.dialog_id, now + timedelta(seconds=settings.bot.burst_seconds))
    return True


async def owner_wrote(
    connection: AsyncConnection, message: Message, *, name: str, username: str | None, settings: Settings, now: datetime
) -> bool:
    """The owner's own message, typed by hand. False if it changes nothing."""
    known = await messages.get(connection, CHANNEL, message.dialog_id, message.message_id)
    if known is None:
        return await takeover.owner_spoke(connection, message, name=name, username=username, settings=settings, now=now)
    if known.source != "collected" or known.kind == "service" or message.unattended:
        return False
    await takeover.take_over(connection, message, settings, now)
    return True


async def edited(
    connection: AsyncConnection, message: Message, *, name: str, username: str | None, settings: Settings, now: datetime
) -> bool:
    """True if it changed something. An edit of what is not in the store is of a message from before the first start: nobody waits for
    an answer to it."""
    if message.out:
        return await takeover.owner_edited(connection, message, now)
    if await messages.get(connection, CHANNEL, message.dialog_id, message.message_id) is None:
        return False
    return await replies.receive_edit(connection, message, name=name, username=username, settings=settings, now=now)


async def deleted(connection: AsyncConnection, message_ids: list[int], settings: Settings, now: datetime) -> None:
    """Follow deletions. MTProto does not say in which chat they were: the ids of an account are one sequence over all of them."""
    for dialog_id, ids in (await messages.dialogs_of(connection, CHANNEL, message_ids)).items():
        await takeover.deleted(connection, CHANNEL, dialog_id, ids, settings, now)


async def is_twins(connection: AsyncConnection, message: Message, settings: Settings, now: datetime) -> bool:
    """Whether an own message is the twin's doing. One whose outcome was not known is settled by it."""
    if await outbox.is_recorded(connection, CHANNEL, message.dialog_id, message.message_id):
        return True
    for bubble in await outbox.in_doubt(connection, CHANNEL, message.dialog_id):
        if await could_be(connection, bubble, message):
            await sending.turned_up(connection, bubble, message_id=message.message_id, sent_at=message.sent_at, settings=settings, now=now)
            return True
    if message.source == "twin":  # sent through a connection, by a life of this twin that nothing is known of
        await messages.save(connection, [message])
        return True
    return False


async def could_be(connection: AsyncConnection, bubble: Bubble, message: Message) -> bool:
    """Whether this message of the owner's box may be the bubble, whose request was cut off (kill -9, no answer).

    It has the same words and came after what it answers: the ids of an account rise over all its chats, so no clock is asked. A
    connection marks its messages. At most one bubble of a dialog is in flight, so the oldest that fits is the one."""
    draft = await drafts.get(connection, bubble.draft_id)
    if draft is None or message.message_id <= draft.answers_message_id or bubble.text.strip() != message.text.strip():
        return False
    if bubble.way != "business":
        return message.source != "twin"
    return message.source == "twin" and bubble.tried_at is not None and bubble.tried_at - CLOCKS_APART <= message.sent_at
