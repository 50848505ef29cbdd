"""Drafts and decisions. Every change that the owner has to see on the card counts up the draft's revision."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store.prepared import Prepared, given
from twin.store.tables import IS_PENDING, UtcDateTime, decisions, drafts, outbox

State = Literal["pending", "approved", "edited", "rejected", "expired", "sending", "sent", "failed"]
Action = Literal["send", "edit", "another", "shorter", "warmer", "skip", "undo", "auto"]
Wish = Literal["another", "shorter", "warmer"]
Intent = Literal["reply", "rest"]


class Draft(NamedTuple):
    """`text` is a turn (bubbles joined), empty when the engine had no words; `reason` says why it ended or is empty.

    `mode` is the contact's when it was written; `flags` say why it waits for the owner although that is auto. `is_automatic`: it was
    the twin who let it go out, and the owner has not approved it since.
    `shown_at`: since when the card shows what it shows, by Telegram's clock; None: it was not changed since it was sent, or not by this
    version. `is_replaced`: the card is gone, or was left alone for good.
    `intent` "rest": the owner usually lets such a message rest. `wish`: what the variant that was asked for should be.
    """

    id: int
    channel: str
    dialog_id: int
    answers_message_id: int
    text: str
    adapter: str | None
    mean_logprob: float | None
    state: State
    variant: int
    author: Literal["twin", "owner"]
    reason: str | None
    another_due_at: datetime | None
    card_message_id: int | None
    revision: int
    shown_revision: int
    created_at: datetime
    settled_at: datetime | None
    mode: Literal["approve", "auto", "shadow"]
    intent: Intent
    flags: list[str]
    wish: Wish | None
    undo_until: datetime | None
    is_automatic: bool = False
    shown_at: datetime | None = None
    is_replaced: bool = False


COLUMNS = tuple(getattr(drafts.c, name) for name in Draft._fields)


_HERE = drafts.c.channel == given("channel"), drafts.c.dialog_id == given("dialog_id")
_LATER = {"id", "another_due_at", "card_message_id", "wish", "shown_at", "is_replaced"}
_NEW = [name for name in Draft._fields if name not in _LATER]
_ANSWERED = ("approved", "edited", "sending", "sent", "failed")
ADD = Prepared(drafts.insert().values({name: given(name) for name in _NEW}))
ONE = Prepared(select(*COLUMNS).where(drafts.c.id == given("which")))
# The plus keeps SQLite from reading all drafts, in the order of their ids or those of an age.
_BY_AGE: ColumnElement[int] = literal_column("+drafts.id")
_OLD = literal_column("+drafts.created_at", UtcDateTime()) <= given("before")
PENDING = Prepared(select(*COLUMNS).where(IS_PENDING).order_by(_BY_AGE.desc()))
PENDING_CREATED_BEFORE = Prepared(select(*COLUMNS).where(IS_PENDING, _OLD).order_by(_BY_AGE))
PENDING_HERE = Prepared(select(*COLUMNS).where(IS_PENDING, *_HERE).order_by(drafts.c.id.desc()))
NEWEST = Prepared(select(*COLUMNS).where(*_HERE).order_by(drafts.c.id.desc()).limit(1))
_NEWEST_ID = select(drafts.c.id).where(*_HERE).order_by(drafts.c.id.desc()).limit(1).scalar_subquery()
NEWEST_REJECTED = Prepared(select(*COLUMNS).where(drafts.c.id == _NEWEST_ID, literal_column("+drafts.state") == "rejected"))
# The newest of them knew the newest message: one row is read, where max() would read every draft of the chat.
ANSWERED_ID = Prepared(
    select(drafts.c.answers_message_id).where(*_HERE, drafts.c.state.in_(_ANSWERED)).order_by(drafts.c.id.desc()).limit(1)
)

DECIDED = Prepared(
    select(decisions.c.action, decisions.c.draft_text, decisions.c.final_text)
    .where(decisions.c.draft_id == given("which"))
    .order_by(decisions.c.id)
)
WITH_WAITING = select(outbox.c.draft_id).where(outbox.c.state == "waiting")
BUMPED = {"revision": drafts.c.revision + 1}
_EDITED = select(decisions.c.id).where(decisions.c.draft_id == drafts.c.id, decisions.c.action == "edit").exists()
WITH_EDIT = Prepared(select(*COLUMNS, _EDITED).where(drafts.c.id == given("which")))
BEGIN_SENDING = Prepared(
    update(drafts).where(drafts.c.id == given("which"), drafts.c.state.in_(("approved", "edited"))).values(state="sending", **BUMPED)
)
ANOTHER_DUE = Prepared(
    select(*COLUMNS)
    .where(IS_PENDING, drafts.c.another_due_at.is_not(None))
    .order_by(drafts.c.another_due_at, drafts.c.id)
    .limit(given("count"))
)
DECIDE = Prepared(decisions.insert().values({name: given(name) for name in ("draft_id", "action", "draft_text", "final_text", "at")}))


@cache
def _change(*names: str) -> Prepared:
    found = drafts.c.id == given("in_id"), drafts.c.state == given("in_state"), drafts.c.variant == given("in_variant")
    return Prepared(update(drafts).where(*found).values(revision=drafts.c.revision + 1, **{name: given(name) for name in names}))


async def add(
    connection: AsyncConnection,
    *,
    channel: str,
    dialog_id: int,
    answers_message_id: int,
    text: str,
    at: datetime,
    adapter: str | None = None,
    mean_logprob: float | None = None,
    author: Literal["twin", "owner"] = "twin",
    reason: str | None = None,
    mode: Literal["approve", "auto", "shadow"] = "approve",
    intent: Intent = "reply",
    flags: Sequence[str] = (),
    state: State = "pending",
    settled_at: datetime | None = None,
    undo_until: datetime | None = None,
    is_automatic: bool = False,
) -> Draft:
    """Most drafts are born pending; one whose fate is known already is written once and not twice."""
    draft = Draft(
        id=0,
        channel=channel,
        dialog_id=dialog_id,
        answers_message_id=answers_message_id,
        text=text,
        adapter=adapter,
        mean_logprob=mean_logprob,
        state=state,
        variant=1,
        author=author,
        reason=reason,
        another_due_at=None,
        card_message_id=None,
        revision=1,
        shown_revision=0,
        created_at=at,
        settled_at=settled_at,
        mode=mode,
        intent=intent,
        flags=list(flags),
        wish=None,
        undo_until=undo_until,
        is_automatic=is_automatic,
    )
    return draft._replace(id=await ADD.insert(connection, **{name: getattr(draft, name) for name in _NEW}))


async def get(connection: AsyncConnection, draft_id: int) -> Draft | None:
    row = await ONE.first(connection, which=draft_id)
    return Draft._make(row) if row else None


async def of_bubble(connection: AsyncConnection, draft_id: int) -> Draft:
    """The draft that a row of the outbox names: both are there, or neither."""
    row = await ONE.first(connection, which=draft_id)
    assert row
    return Draft._make(row)


async def with_edit(connection: AsyncConnection, draft_id: int) -> tuple[Draft, bool]:
    """The same, and whether the owner decided on words of his own for it."""
    row = await WITH_EDIT.first(connection, which=draft_id)
    assert row
    return Draft._make(row[:-1]), bool(row[-1])


async def begin_sending(connection: AsyncConnection, draft_id: int) -> None:
    """Its first bubble goes."""
    await BEGIN_SENDING.run(connection, which=draft_id)


async def pending(connection: AsyncConnection, channel: str | None = None, dialog_id: int | None = None) -> list[Draft]:
    """What waits for the owner, newest first; of one dialog, if one is named."""
    if dialog_id is None:
        return [Draft._make(row) for row in await PENDING.rows(connection)]
    return [Draft._make(row) for row in await PENDING_HERE.rows(connection, channel=channel, dialog_id=dialog_id)]


async def newest(connection: AsyncConnection, channel: str, dialog_id: int) -> Draft | None:
    row = await NEWEST.first(connection, channel=channel, dialog_id=dialog_id)
    return Draft._make(row) if row else None


async def newest_rejected(connection: AsyncConnection, channel: str, dialog_id: int) -> Draft | None:
    """The newest draft of a dialog, if it is one that the owner wanted nothing of."""
    row = await NEWEST_REJECTED.first(connection, channel=channel, dialog_id=dialog_id)
    return Draft._make(row) if row else None


async def change(connection: AsyncConnection, draft: Draft, **values: Any) -> bool:
    """Set columns and count the revision up. False if it is no longer in the state in which `draft` was read."""
    return await _change(*sorted(values)).run(connection, in_id=draft.id, in_state=draft.state, in_variant=draft.variant, **values) == 1


async def going_by_itself(connection: AsyncConnection, dialog_id: int | None = None) -> list[Draft]:
    """Approved by the twin itself and not begun, oldest first."""
    query = select(*COLUMNS).where(drafts.c.state == "approved", drafts.c.is_automatic, drafts.c.id.in_(WITH_WAITING)).order_by(drafts.c.id)
    rows = await connection.execute(query if dialog_id is None else query.where(drafts.c.dialog_id == dialog_id))
    return [Draft._make(row) for row in rows]


async def went_by_itself(connection: AsyncConnection, draft_id: int) -> bool:
    """Whether it was the twin and not the owner who let it go out."""
    draft = await get(connection, draft_id)
    return draft is not None and draft.is_automatic


async def another_due(connection: AsyncConnection, limit: int) -> list[Draft]:
    """The pending drafts for which another variant is due, first due first."""
    return [Draft._make(row) for row in await ANOTHER_DUE.rows(connection, count=limit)]


async def any_words_since(connection: AsyncConnection, since: datetime) -> bool:
    """Whether the engine has written a draft since then, for anybody."""
    query = select(drafts.c.id).where(drafts.c.created_at > since, drafts.c.author == "twin", drafts.c.text != "")
    return (await connection.execute(query.limit(1))).first() is not None


async def pending_created_before(connection: AsyncConnection, before: datetime) -> list[Draft]:
    return [Draft._make(row) for row in await PENDING_CREATED_BEFORE.rows(connection, before=before)]


async def answered_id(connection: AsyncConnection, channel: str, dialog_id: int) -> int:
    """The contact's newest message that an answer knew of; 0 if none was ever answered."""
    row = await ANSWERED_ID.first(connection, channel=channel, dialog_id=dialog_id)
    return (row and row[0]) or 0


async def decide(
    connection: AsyncConnection, draft: Draft, action: Action, at: datetime, *, draft_text: str | None = None, final_text: str | None = None
) -> None:
    """Record what the owner did with what was proposed at that moment."""
    proposed = draft.text if draft_text is None else draft_text
    await DECIDE.run(connection, draft_id=draft.id, action=action, draft_text=proposed, final_text=final_text, at=at)


async def decided(connection: AsyncConnection, draft_id: int) -> list[tuple[str, str, str | None]]:
    """(action, text proposed, text sent) in order."""
    return [(row[0], row[1], row[2]) for row in await DECIDED.rows(connection, which=draft_id)]
