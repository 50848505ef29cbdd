"""What the limits ask: how long ago the nth newest draft was written or went by itself, and whether the owner was heard of since.

What is asked of one dialog is read in the order of the index of its drafts, so that no more of them are read than needed.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, ScalarSelect, Select, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store.prepared import Prepared, given
from twin.store.tables import decisions, drafts, messages


def _nth(query: Select[tuple[datetime]], ids: ColumnElement[int], before: str) -> ScalarSelect[datetime]:
    """The row that has this many before it. A limit that is higher than the number of all there ever were is not used up, which the
    highest id tells at once: LIMIT 0 looks at no row."""
    are_so_many = select(func.coalesce(func.max(ids), 0) > given(before)).scalar_subquery()
    return query.limit(are_so_many).offset(given(before)).scalar_subquery()


_HERE = drafts.c.channel == given("channel"), drafts.c.dialog_id == given("dialog_id")
_MADE = select(drafts.c.created_at).where(drafts.c.author == "twin")
MADE = Prepared(
    select(
        _nth(_MADE.where(*_HERE).order_by(drafts.c.id.desc()), drafts.c.id, "before_here"),
        _nth(_MADE.order_by(drafts.c.created_at.desc()), drafts.c.id, "before"),
    )
)
_AUTOMATIC = select(decisions.c.at).where(decisions.c.action == "auto").order_by(decisions.c.at.desc())
_AUTOMATIC_HERE = (
    select(decisions.c.at)
    .join_from(drafts, decisions, drafts.c.id == decisions.c.draft_id)
    # The plus keeps SQLite from the index of actions, by which it would read everybody's.
    .where(drafts.c.dialog_id == given("dialog_id"), literal_column("+decisions.action") == "auto")
    .order_by(drafts.c.id.desc(), decisions.c.id.desc())
)
AUTOMATIC = Prepared(
    select(
        _nth(_AUTOMATIC_HERE, decisions.c.id, "before_in_row"),
        _nth(_AUTOMATIC_HERE, decisions.c.id, "before_in_hour"),
        _nth(_AUTOMATIC, decisions.c.id, "before_in_day"),
    )
)
TAPPED_SINCE = Prepared(
    select(decisions.c.id)
    .join_from(decisions, drafts, decisions.c.draft_id == drafts.c.id)
    .where(drafts.c.dialog_id == given("dialog_id"), decisions.c.action != "auto", decisions.c.at >= given("at"))
    .limit(1)
)
WROTE_SINCE = Prepared(
    select(messages.c.message_id)
    .where(
        messages.c.dialog_id == given("dialog_id"),
        messages.c.out,
        messages.c.unattended.is_(False),
        messages.c.source.in_(("collected", "business")),
        messages.c.sent_at >= given("at"),
    )
    .limit(1)
)


async def made_at(
    connection: AsyncConnection, channel: str, dialog_id: int, *, nth_here: int, nth: int
) -> tuple[datetime | None, datetime | None]:
    """When the twin wrote the nth newest draft (1: the newest), of one dialog and of all; None if there were fewer."""
    row = await MADE.first(connection, channel=channel, dialog_id=dialog_id, before_here=nth_here - 1, before=nth - 1)
    assert row
    return row[0], row[1]


async def automatic_at(
    connection: AsyncConnection, dialog_id: int, *, in_row: int, in_hour: int, in_day: int
) -> tuple[datetime | None, datetime | None, datetime | None]:
    """When the nth newest answer that went by itself was decided on: twice to one contact, then to anybody; None if there were fewer."""
    before = {"before_in_row": in_row - 1, "before_in_hour": in_hour - 1, "before_in_day": in_day - 1}
    row = await AUTOMATIC.first(connection, dialog_id=dialog_id, **before)
    assert row
    return row[0], row[1], row[2]


async def heard_from_owner(connection: AsyncConnection, dialog_id: int, since: datetime) -> bool:
    """Whether the owner did something about this contact since then: a tap, an edit, a message of his own."""
    here = {"dialog_id": dialog_id, "at": since}
    return bool(await TAPPED_SINCE.rows(connection, **here) or await WROTE_SINCE.rows(connection, **here))
