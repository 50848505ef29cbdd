"""Takeover: the owner writes in a chat himself, so the twin holds its tongue there."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.replies import supersede
from twin.settings import Settings
from twin.store import dialogs, drafts, due, messages, outbox, tables
from twin.turns import Message

TAKEN_OVER = "taken over"


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
    await supersede(connection, message.channel, message.dialog_id, TAKEN_OVER, now)
    await due.drop(connection, message.channel, message.dialog_id)
    here = tables.outbox.c.channel == message.channel, tables.outbox.c.dialog_id == message.dialog_id, tables.outbox.c.state == "waiting"
    stopped = [b for b in await outbox.in_state(connection, "waiting") if (b.channel, b.dialog_id) == (message.channel, message.dialog_id)]
    await connection.execute(update(tables.outbox).where(*here).values(state="cancelled", error=TAKEN_OVER))
    for draft_id in {bubble.draft_id for bubble in stopped}:
        if draft := await drafts.get(connection, draft_id):
            await drafts.change(connection, draft, state="expired", reason=TAKEN_OVER, settled_at=now)
    await dialogs.silence(connection, message.dialog_id, now + timedelta(minutes=settings.bot.takeover_minutes))
    return True
