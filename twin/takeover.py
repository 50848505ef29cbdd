"""Takeover: the owner writes in a chat himself, so the twin holds its tongue there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.replies import supersede
from twin.settings import Settings
from twin.store import dialogs, drafts, due, messages, outbox, tables
from twin.turns import Message

TAKEN_OVER = "taken over"
DELETED = "deleted by the contact"


async def owner_spoke(
    connection: AsyncConnection, message: Message, *, name: str, username: str | None, settings: Settings, now: datetime
) -> bool:
    """The owner's own message in a chat; False if it changes nothing."""
    dialog = await dialogs.get(connection, message.dialog_id)
    if dialog and dialog.excluded:
        return False
    await dialogs.save(connection, message.dialog_id, name=name, username=username)
    await messages.save(connection, [message])
    if message.kind == "service":
        return False
    await withdraw(connection, message.channel, message.dialog_id, TAKEN_OVER, now)
    await dialogs.silence(connection, message.dialog_id, now + timedelta(minutes=settings.bot.takeover_minutes))
    return True


async def withdraw(connection: AsyncConnection, channel: str, dialog_id: int, reason: str, now: datetime) -> None:
    """Whatever the twin was about to say in a dialog: due, pending, or waiting to go."""
    await supersede(connection, channel, dialog_id, reason, now)
    await due.drop(connection, channel, dialog_id)
    here = tables.outbox.c.channel == channel, tables.outbox.c.dialog_id == dialog_id, tables.outbox.c.state == "waiting"
    stopped = [b for b in await outbox.in_state(connection, "waiting") if (b.channel, b.dialog_id) == (channel, dialog_id)]
    await connection.execute(update(tables.outbox).where(*here).values(state="cancelled", error=reason))
    for draft_id in {bubble.draft_id for bubble in stopped}:
        if draft := await drafts.get(connection, draft_id):
            await drafts.change(connection, draft, state="expired", reason=reason, settled_at=now)


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
    theirs = [i for i in message_ids if (m := await messages.get(connection, channel, dialog_id, i)) and not m.out]
    await messages.mark_deleted(connection, channel, dialog_id, message_ids, now)
    awaited = await due.get(connection, channel, dialog_id) or await drafts.pending(connection, channel, dialog_id)
    if not theirs or not awaited or max(theirs) <= answered:
        return False
    await supersede(connection, channel, dialog_id, DELETED, now)
    await due.put(connection, channel, dialog_id, now + timedelta(seconds=settings.bot.burst_seconds))
    return True
