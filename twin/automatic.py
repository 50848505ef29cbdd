"""Automatic answers: a draft of a contact on `auto` goes by itself, unless something speaks against it.

What speaks against it is a flag. The words are looked at by `twin.caution` before; here it is the numbers: how many went already.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from twin.decisions import to_bubbles
from twin.drafting import RESTED
from twin.settings import Settings
from twin.store import drafts, outbox
from twin.store.drafts import Draft
from twin.tempo import Plan
from twin.turns import join_bubbles, split_bubbles


async def limits(connection: AsyncConnection, dialog_id: int, settings: Settings, now: datetime) -> list[str]:
    """The flags of numbers: "row" if too many went in a row without the owner, "limit" if an hour or the day is used up."""
    auto = settings.auto
    begun = await drafts.automatic_at(connection, auto.in_a_row, dialog_id=dialog_id)
    if begun and not await drafts.heard_from_owner(connection, dialog_id, begun):
        return ["row"]
    of_hour = await drafts.automatic_at(connection, auto.per_hour, dialog_id=dialog_id)
    of_day = await drafts.automatic_at(connection, auto.per_day)
    is_full = (of_hour and of_hour > now - timedelta(hours=1)) or (of_day and of_day > now - timedelta(days=1))
    return ["limit"] if is_full else []


async def settle(connection: AsyncConnection, draft: Draft, flags: Sequence[str], plan: Plan, settings: Settings, now: datetime) -> bool:
    """What becomes of a draft of a contact on `auto` that was just written: it goes by itself (True), or waits for the owner with
    the flags on its card. Where the owner lets such a message rest, nothing goes and nobody is asked."""
    if draft.intent == "rest":
        await drafts.change(connection, draft, state="expired", reason=RESTED, settled_at=now)
        return False
    bubbles = to_bubbles(split_bubbles(draft.text))
    against = [*flags, *(await limits(connection, draft.dialog_id, settings, now) if bubbles else ["wordless"])]
    if against:
        await drafts.change(connection, draft, flags=list(dict.fromkeys(against)))
        return False
    ends = max([now, *(bubble.not_before_at for bubble in plan.bubbles)])
    undo_until = ends + timedelta(seconds=settings.auto.undo_seconds)
    await drafts.decide(connection, draft, "auto", now, final_text=join_bubbles(bubbles))
    await drafts.change(connection, draft, state="approved", settled_at=now, undo_until=undo_until, is_automatic=True)
    await outbox.add(connection, draft, bubbles, plan.bubbles)
    return True
