"""The rules of the outbox: what a send's outcome means for its bubble, its draft and the owner."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from twin.settings import Settings
from twin.store import dialogs, drafts, messages, notices, outbox
from twin.store.outbox import Bubble
from twin.turns import Message


async def begin(connection: AsyncConnection, bubble: Bubble, now: datetime) -> Bubble | None:
    """Write down that it is being sent, before it is. None if something else has happened to it."""
    if not await outbox.move(connection, bubble, "sending", tried_at=now, error=None):
        return None
    draft = await drafts.get(connection, bubble.draft_id)
    if draft and draft.state in ("approved", "edited"):
        await drafts.change(connection, draft, state="sending")
    return await outbox.get(connection, bubble.id)


async def arrived(
    connection: AsyncConnection, bubble: Bubble, *, message_id: int | None, sent_at: datetime, settings: Settings, now: datetime
) -> bool:
    """It is there. The next bubble waits its pause; True if there is one. `message_id` None: arrived by the owner's word."""
    if not await outbox.move(connection, bubble, "sent", sent_message_id=message_id, error=None):
        return False
    await messages.save(
        connection,
        [
            Message(
                channel=bubble.channel,
                dialog_id=bubble.dialog_id,
                message_id=message_id if message_id is not None else -bubble.id,  # Telegram's ids are positive
                out=True,
                sent_at=sent_at,
                text=bubble.text,
                source=await _source(connection, bubble.draft_id),
            )
        ],
    )
    if message_id is not None:
        await messages.disown(connection, bubble.channel, bubble.dialog_id, message_id)
    rest = await outbox.of_draft(connection, bubble.draft_id)
    if all(b.state == "sent" for b in rest):
        await _settle(connection, bubble.draft_id, "sent", None, now)
    return await outbox.hold_next(connection, bubble, now + timedelta(seconds=settings.bot.bubble_seconds))


async def wait(connection: AsyncConnection, bubble: Bubble, until: datetime) -> None:
    """It certainly did not go: try again from `until` on."""
    await outbox.move(connection, bubble, "waiting", not_before_at=until)


async def doubt(connection: AsyncConnection, bubble: Bubble, settings: Settings, now: datetime) -> None:
    """Nobody knows whether it went. It is never sent again on a guess: the owner is asked.

    In the owner's own chat with the twin it is tried again: he sees for himself, and a doubled answer harms nobody.
    """
    if bubble.dialog_id == settings.owner.id:
        await outbox.move(connection, bubble, "waiting", not_before_at=now)
        return
    if await outbox.move(connection, bubble, "uncertain"):
        name = await _name(connection, bubble)
        question = f"I cannot tell whether this reached {name}: the connection broke. Please look, then choose.\n\n{bubble.text}"
        await notices.add(connection, question, now, outbox_id=bubble.id)
        draft = await drafts.get(connection, bubble.draft_id)
        if draft:
            await drafts.change(connection, draft)


async def fail(connection: AsyncConnection, bubble: Bubble, why: str, settings: Settings, now: datetime) -> None:
    """Telegram refused it: neither it nor the bubbles after it will go, and the owner is told."""
    if not await outbox.move(connection, bubble, "failed", error=why):
        return
    await outbox.fail_rest(connection, bubble, why)
    await _settle(connection, bubble.draft_id, "failed", why, now)
    if bubble.dialog_id != settings.owner.id:
        await notices.add(connection, f"Draft {bubble.draft_id} could not be sent to {await _name(connection, bubble)}: {why}.", now)


async def recover(connection: AsyncConnection, settings: Settings, now: datetime) -> int:
    """At start-up: what was being sent when the process died has an unknown outcome. Returns how many."""
    interrupted = await outbox.in_state(connection, "sending")
    for bubble in interrupted:
        if bubble.way == "session":
            await wait(connection, bubble, now)  # its random_id is taken once
        else:
            await doubt(connection, bubble, settings, now)
    return len(interrupted)


async def answer_doubt(connection: AsyncConnection, bubble_id: int, *, it_arrived: bool, settings: Settings, now: datetime) -> bool:
    """The owner's word on an uncertain bubble. False if it is no longer in doubt."""
    bubble = await outbox.get(connection, bubble_id)
    if bubble is None or bubble.state != "uncertain":
        return False
    if it_arrived:
        await arrived(connection, bubble, message_id=None, sent_at=bubble.tried_at or now, settings=settings, now=now)
    else:
        await outbox.move(connection, bubble, "waiting", not_before_at=None)
    draft = await drafts.get(connection, bubble.draft_id)
    if draft:
        await drafts.change(connection, draft)
    return True


async def _settle(connection: AsyncConnection, draft_id: int, state: str, reason: str | None, now: datetime) -> None:
    draft = await drafts.get(connection, draft_id)
    if draft:
        await drafts.change(connection, draft, state=state, reason=reason, settled_at=now)


async def _source(connection: AsyncConnection, draft_id: int) -> str:
    """Whose words these are: the twin must not learn from its own as if the owner had written them."""
    draft = await drafts.get(connection, draft_id)
    edited = any(action == "edit" for action, _, _ in await drafts.decided(connection, draft_id))
    return "owner" if edited or (draft and draft.author == "owner") else "twin"


async def _name(connection: AsyncConnection, bubble: Bubble) -> str:
    dialog = await dialogs.get(connection, bubble.dialog_id)
    return (dialog and dialog.name) or f"contact {bubble.dialog_id}"
