"""Silence: nothing goes out. Everywhere from /pause to /resume; in one dialog for a while after the owner has written there himself.

Messages are kept all the same. What waited is drafted when the silence ends, if it still is the newest. What the owner approved
waits and goes then; an automatic answer that has not begun becomes a card, because nobody has looked at it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store import cards, dialogs, drafts, facts, outbox

FACT = "silence"
PAUSED = "paused"  # the flag of an automatic answer that /pause held back
SWITCHED = "switched"  # ... that a change of the contact's mode held back


async def since(connection: AsyncConnection) -> datetime | None:
    """When /pause was said; None while the twin may speak."""
    found = await facts.get(connection, FACT)
    return datetime.fromisoformat(found["since"]) if found else None


async def begin(connection: AsyncConnection, now: datetime) -> bool:
    """False if it was silent already."""
    if await since(connection):
        return False
    await facts.put(connection, FACT, {"since": now.isoformat()})
    await hold(connection, PAUSED)
    await cards.show_again(connection)
    return True


async def end(connection: AsyncConnection) -> bool:
    """False if it was not silent."""
    if not await since(connection):
        return False
    await facts.forget(connection, FACT)
    await cards.show_again(connection)
    return True


async def hold(connection: AsyncConnection, flag: str, *, dialog_id: int | None = None) -> list[int]:
    """Turn automatic answers of which no bubble was tried yet back into cards, with this flag; returns their draft ids.

    One that has begun goes on: half an answer is worse than a whole one, and the owner can take it back."""
    held = []
    for draft in await drafts.going_by_itself(connection, dialog_id):
        bubbles = await outbox.of_draft(connection, draft.id)
        if bubbles and all(bubble.state == "waiting" and bubble.tried_at is None for bubble in bubbles):
            for bubble in bubbles:
                await outbox.move(connection, bubble, "cancelled")
            flags = [*draft.flags, *([] if flag in draft.flags else [flag])]
            await drafts.change(connection, draft, state="pending", flags=flags, settled_at=None, undo_until=None)
            held.append(draft.id)
    return held


async def until(connection: AsyncConnection, dialog_id: int, now: datetime) -> datetime | None:
    """The end of this dialog's own silence, if it lies ahead."""
    dialog = await dialogs.get(connection, dialog_id)
    return dialog.silent_until if dialog and dialog.silent_until and dialog.silent_until > now else None
