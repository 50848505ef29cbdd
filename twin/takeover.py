"""The owner writes in a chat himself: what the twin was about to say there is withdrawn, and it is silent there for a while.

Also what both sides do to messages that are there already: the owner's edits, and deletions by either. Every function works inside
the caller's transaction and may be repeated; the live session and the business connection both end here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from twin import digest, modes, sending, shadow
from twin.replies import supersede
from twin.settings import Settings
from twin.shadow import TAKEN_OVER
from twin.store import dialogs, drafts, due, messages, prompts
from twin.turns import Message

DELETED = "deleted by the contact"


async def owner_spoke(
    connection: AsyncConnection, message: Message, *, name: str, username: str | None, settings: Settings, now: datetime
) -> bool:
    """Keep what the owner wrote by hand, and hold the twin's tongue there. `name` is the contact's.

    False if it is none of that: known already, sent by the twin through the live session, no words of anybody, or sent while he was
    away (`unattended`)."""
    dialog = await dialogs.get(connection, message.dialog_id)
    if dialog and dialog.excluded:
        return False
    where = message.dialog_id, message.message_id
    if await sending.echo(connection, *where, message.text, message.sent_at, settings=settings, now=now, way="session"):
        return False
    if await messages.get(connection, message.channel, *where):
        await messages.save(connection, [message])  # what a connection showed first counts as collected once the session shows it
        return False
    await dialogs.save(connection, message.dialog_id, name=name, username=username)
    await messages.save(connection, [message])
    if message.kind == "service" or message.unattended:
        return False
    await take_over(connection, message, settings, now)
    return True


async def take_over(connection: AsyncConnection, message: Message, settings: Settings, now: datetime) -> None:
    """What follows from an own message that is in the store."""
    await withdraw(connection, message.channel, message.dialog_id, TAKEN_OVER, now)
    dialog = await dialogs.get(connection, message.dialog_id)
    # An update may come late: the silence counts from when he wrote.
    until = min(now, message.sent_at) + timedelta(minutes=settings.bot.takeover_minutes)
    if until > now and (dialog is None or dialog.silent_until is None or dialog.silent_until < until):
        await dialogs.silence(connection, message.dialog_id, until)
    await shadow.compare(connection, message, now)
    await digest.seen(connection, now)


async def withdraw(connection: AsyncConnection, channel: str, dialog_id: int, reason: str, now: datetime) -> None:
    """Whatever the twin was about to say in a dialog: due, pending, or waiting to go."""
    await due.drop(connection, channel, dialog_id)
    for draft in await drafts.pending(connection, channel, dialog_id):
        await prompts.close(connection, draft.id, now)
    await supersede(connection, channel, dialog_id, reason, now)
    await sending.cancel_waiting(connection, channel, dialog_id, reason, now)


async def owner_edited(connection: AsyncConnection, message: Message, now: datetime) -> bool:
    """Follow the owner's edit of an own message. False if it is not known or not changed."""
    known = await messages.get(connection, message.channel, message.dialog_id, message.message_id)
    if known is None or known.text == message.text:
        return False
    await messages.edit(connection, message.channel, message.dialog_id, message.message_id, message.text, now)
    return True


async def deleted(
    connection: AsyncConnection, channel: str, dialog_id: int, message_ids: Sequence[int], settings: Settings, now: datetime
) -> bool:
    """Follow deletions by either side. True if the contact took back what a draft was to answer: the draft is withdrawn, and
    written again if something of theirs is left to answer."""
    answered = await drafts.answered_id(connection, channel, dialog_id)
    gone = [m for i in message_ids if (m := await messages.get(connection, channel, dialog_id, i))]
    await messages.mark_deleted(connection, channel, dialog_id, message_ids, now)
    theirs = [m for m in gone if not m.out]
    if not theirs:
        return False
    newest = await drafts.newest(connection, channel, dialog_id)
    if newest and newest.answers_message_id in {m.message_id for m in theirs}:
        await sending.cancel_waiting(connection, channel, dialog_id, DELETED, now, only_auto=True)
    awaited = await due.get(connection, channel, dialog_id) or await drafts.pending(connection, channel, dialog_id)
    if not awaited or max(m.message_id for m in theirs) <= answered:
        return False
    for draft in await drafts.pending(connection, channel, dialog_id):
        await prompts.close(connection, draft.id, now)
    await supersede(connection, channel, dialog_id, DELETED, now)
    left = [m for m in await messages.after(connection, channel, dialog_id, answered) if m.kind != "service" and not m.unattended]
    dialog = await dialogs.get(connection, dialog_id)
    if left and not left[-1].out and await modes.effective(connection, dialog, settings) != "off":
        await due.put(connection, channel, dialog_id, now + timedelta(seconds=settings.bot.burst_seconds))
    else:
        await due.drop(connection, channel, dialog_id)
    return True
