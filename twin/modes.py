"""Which mode a contact is in, and what is known about how well it serves: a contact's own, else the default for everyone.

The default is the setting's until the owner changes it in the chat; what he said there wins over the setting.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.settings import Settings
from twin.store import facts
from twin.store.dialogs import Dialog, Mode
from twin.store.tables import comparisons, decisions, drafts

FACT = "default mode"
MODES: tuple[Mode, ...] = ("off", "shadow", "approve", "auto")
WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Figures:
    """`likeness` is the mean over all comparisons, None without any; `automatic` counts the automatic answers of seven days."""

    comparisons: int
    likeness: float | None
    automatic: int


async def default(connection: AsyncConnection, settings: Settings) -> Mode:
    """The mode of a contact for whom none is set."""
    return cast(Mode, await facts.get(connection, FACT) or settings.bot.default_mode)


async def effective(connection: AsyncConnection, dialog: Dialog | None, settings: Settings) -> Mode:
    return (dialog and dialog.mode) or await default(connection, settings)


async def put_default(connection: AsyncConnection, mode: Mode) -> None:
    """The fact alone: `twin.replies.set_default_mode` also withdraws what the mode forbids."""
    await facts.put(connection, FACT, mode)


async def figures(connection: AsyncConnection, dialog_id: int, now: datetime) -> Figures:
    compared = select(func.count(), func.avg(comparisons.c.likeness)).where(comparisons.c.dialog_id == dialog_id)
    count, mean = (await connection.execute(compared)).one()
    return Figures(count, mean, await automatic_since(connection, now - WEEK, dialog_id=dialog_id))


async def automatic_since(connection: AsyncConnection, since: datetime, *, dialog_id: int | None = None) -> int:
    """How many drafts went by themselves since then; of one dialog, if one is named."""
    query = select(func.count(decisions.c.draft_id.distinct())).where(decisions.c.action == "auto", decisions.c.at > since)
    if dialog_id is not None:
        query = query.join_from(decisions, drafts, decisions.c.draft_id == drafts.c.id).where(drafts.c.dialog_id == dialog_id)
    return int((await connection.execute(query)).scalar_one())
