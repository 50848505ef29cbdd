"""Rows as the drafter leaves them, put into a store whose bot has not started yet."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bot_scene import ADA, BOT, Scene
from sqlalchemy import update

from bot.context import utc_now
from twin.store import dialogs, drafts, messages, outbox
from twin.store.drafts import Draft
from twin.store.tables import outbox as outbox_table
from twin.turns import Message, split_bubbles


async def wrote(scene: Scene, text: str, *, dialog_id: int = ADA, name: str = "Ada Lovelace", message_id: int = 1) -> None:
    """The contact has written to the bot, and the message is handled."""
    if not any(m.sender_id == dialog_id for m in scene.world.history(dialog_id, BOT)):
        scene.world.send(dialog_id, BOT, text, silent=True)
    said = Message("bot", dialog_id, message_id, False, utc_now() - timedelta(minutes=1), text, source="received")
    async with scene.store.begin() as connection:
        await dialogs.save(connection, dialog_id, name=name, username=name.split()[0].lower())
        await messages.save(connection, [said])


async def drafted(scene: Scene, text: str, *, dialog_id: int = ADA, at: Any = None, **more: Any) -> Draft:
    """A draft that waits for the owner."""
    async with scene.store.begin() as connection:
        newest = await messages.newest_id(connection, "bot", dialog_id)
        at = at or utc_now()
        return await drafts.add(connection, channel="bot", dialog_id=dialog_id, answers_message_id=newest, text=text, at=at, **more)


async def answered(scene: Scene, text: str, *, in_seconds: float = 0.0, undo_seconds: float = 60.0, dialog_id: int = ADA) -> Draft:
    """An answer that goes by itself, its first bubble after `in_seconds`; the contact is on auto."""
    draft = await drafted(scene, text, dialog_id=dialog_id, mode="auto")
    now = utc_now()
    async with scene.store.begin() as connection:
        await dialogs.set_mode(connection, dialog_id, "auto")
        await drafts.decide(connection, draft, "auto", now, final_text=text)
        until = now + timedelta(seconds=undo_seconds)
        await drafts.change(connection, draft, state="approved", settled_at=now, undo_until=until, is_automatic=True)
        await outbox.add(connection, draft, split_bubbles(text))
        if in_seconds:
            later = update(outbox_table).where(outbox_table.c.draft_id == draft.id)
            await connection.execute(later.values(not_before_at=now + timedelta(seconds=in_seconds)))
        return await drafts.get(connection, draft.id) or draft
