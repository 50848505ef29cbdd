"""Automatic answers: a draft of a contact on `auto` goes by itself, unless something speaks against it.

What speaks against it is a flag. The words are looked at by `twin.caution` before; here it is the numbers: how many went already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from twin.decisions import to_bubbles
from twin.drafting import RESTED, Proposal
from twin.settings import Settings
from twin.store import drafts, limits, outbox
from twin.store.drafts import Draft
from twin.tempo import Plan
from twin.turns import join_bubbles, split_bubbles


@dataclass(frozen=True)
class Fate:
    """What becomes of a draft: the columns that it is born with, and what goes out by itself, if anything does."""

    born: Mapping[str, Any]
    bubbles: list[str] = field(default_factory=list)


async def used_up(connection: AsyncConnection, dialog_id: int, settings: Settings, now: datetime) -> list[str]:
    """The flags of numbers: "row" if too many went in a row without the owner, "limit" if an hour or the day is used up."""
    auto = settings.auto
    counts = {"in_row": auto.in_a_row, "in_hour": auto.per_hour, "in_day": auto.per_day}
    begun, of_hour, of_day = await limits.automatic_at(connection, dialog_id, **counts)
    if begun and not await limits.heard_from_owner(connection, dialog_id, begun):
        return ["row"]
    is_full = (of_hour and of_hour > now - timedelta(hours=1)) or (of_day and of_day > now - timedelta(days=1))
    return ["limit"] if is_full else []


async def fate(
    connection: AsyncConnection, dialog_id: int, proposal: Proposal, flags: Sequence[str], plan: Plan, settings: Settings, now: datetime
) -> Fate:
    """Of what was written for a contact on `auto`: it goes by itself, or waits for the owner with the flags on its card. Where the owner
    lets such a message rest, nothing goes and nobody is asked."""
    if proposal.intent == "rest":
        return Fate({"state": "expired", "reason": RESTED, "settled_at": now})
    bubbles = to_bubbles(split_bubbles(proposal.text))
    against = [*flags, *(await used_up(connection, dialog_id, settings, now) if bubbles else ["wordless"])]
    if against:
        return Fate({"flags": list(dict.fromkeys(against))})
    ends = max([now, *(bubble.not_before_at for bubble in plan.bubbles)])
    undo_until = ends + timedelta(seconds=settings.auto.undo_seconds)
    return Fate({"state": "approved", "settled_at": now, "undo_until": undo_until, "is_automatic": True}, bubbles)


async def let_go(connection: AsyncConnection, draft: Draft, bubbles: Sequence[str], plan: Plan, now: datetime) -> None:
    """Write down that it goes by itself, and put it into the outbox."""
    await drafts.decide(connection, draft, "auto", now, final_text=join_bubbles(bubbles))
    await outbox.add(connection, draft, bubbles, plan.bubbles)
