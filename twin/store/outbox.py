"""The outbox: one row a bubble, written before it is tried.

waiting ──▶ sending ──▶ sent | failed (refused) | waiting (certainly not gone)
   │           └──────▶ unheard (nobody knows yet: its echo may still come) ──▶ sent | uncertain
   │                    uncertain (nobody knows) ──▶ sent | waiting, by the owner's word or by what a session can read
   └──▶ cancelled (before it was tried: a takeover, an undo, /pause)      sent ──▶ retracting ──▶ retracted | sent (it cannot be deleted)

What is in flight cannot be cancelled. Its `error` says then why it is not wanted any more: it is not tried again, and a taken back
one is retracted when it turns out to have arrived. `way` of a waiting bubble is the one by which it may have gone already.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Literal, NamedTuple, Protocol

from sqlalchemy import Select, and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store import messages
from twin.store.drafts import Draft
from twin.store.prepared import Prepared, given
from twin.store.tables import drafts, outbox

State = Literal["waiting", "sending", "unheard", "sent", "failed", "uncertain", "cancelled", "retracting", "retracted"]
Way = Literal["bot", "business", "session"]
UNSETTLED: tuple[State, ...] = ("waiting", "sending", "unheard", "uncertain")  # nothing of the same chat passes one of these
OPEN: tuple[State, ...] = (*UNSETTLED, "retracting")  # there is something to do about it, now or later
FINAL: tuple[State, ...] = ("sent", "failed", "cancelled", "retracted")


class Bubble(NamedTuple):
    """One message to send. `random_id` is MTProto's idempotency key; the Bot API has none. `way`: the one it was tried by. `thread_id`:
    the topic in which the contact asked."""

    id: int
    draft_id: int
    channel: str
    dialog_id: int
    position: int
    text: str
    random_id: int
    state: State
    not_before_at: datetime | None
    tried_at: datetime | None
    sent_message_id: int | None
    error: str | None
    way: Way | None
    typing_at: datetime | None
    thread_id: int | None = None

    @property
    def try_number(self) -> int:
        """Tells one try from another: milliseconds since 1970, 0 before the first."""
        return int(self.tried_at.timestamp() * 1000) if self.tried_at else 0


COLUMNS = tuple(getattr(outbox.c, name) for name in Bubble._fields)
_NEW = ("draft_id", "channel", "dialog_id", "state", "position", "text", "random_id", "typing_at", "not_before_at", "thread_id")
ADD = Prepared(outbox.insert().values({name: given(name) for name in _NEW}))
ONE = Prepared(select(*COLUMNS).where(outbox.c.id == given("which")))
OF_DRAFT = Prepared(select(*COLUMNS).where(outbox.c.draft_id == given("which")).order_by(outbox.c.position))
_HERE = outbox.c.channel == given("channel"), outbox.c.dialog_id == given("dialog_id")
RECORDED = Prepared(select(outbox.c.id).where(*_HERE, outbox.c.sent_message_id == given("message_id")).limit(1))
_TRIED_BEFORE = (outbox.c.state == "waiting") & (outbox.c.way == "session") & outbox.c.tried_at.is_not(None)
IN_DOUBT = Prepared(
    select(*COLUMNS).where(*_HERE, outbox.c.state.in_(("sending", "unheard", "uncertain")) | _TRIED_BEFORE).order_by(outbox.c.id)
)
OPEN_KINDS = Prepared(select(outbox.c.channel, outbox.c.state).distinct().where(outbox.c.state.in_(OPEN)))
FAIL_REST = Prepared(
    update(outbox)
    .where(outbox.c.draft_id == given("in_draft"), outbox.c.position > given("after"), outbox.c.state == "waiting")
    .values(state="failed", error=given("error"))
)


def _heads() -> Select[Any]:
    """What waits, and has nothing unsettled of its dialog before it."""
    before = outbox.alias("before")
    same = before.c.dialog_id == outbox.c.dialog_id, before.c.channel == outbox.c.channel
    blocked = select(before.c.id).where(*same, before.c.state.in_(UNSETTLED), before.c.id < outbox.c.id).exists()
    return select(*COLUMNS).where(outbox.c.state == "waiting", ~blocked)


_WANTED = or_(given("only").is_(None), outbox.c.dialog_id == given("only"))
_HELD = select(func.json_each(given("held")).table_valued("value").c.value)
_FREE = or_(outbox.c.channel != "account", and_(given("all_held") == 0, outbox.c.dialog_id.not_in(_HELD)))
_MAY_GO = or_(outbox.c.not_before_at.is_(None), outbox.c.not_before_at <= given("now"))
_BEGINS = func.coalesce(outbox.c.typing_at, outbox.c.not_before_at)
# NULL sorts first in SQLite: what need not wait goes before what must.
FIRST = Prepared(_heads().order_by(outbox.c.not_before_at, outbox.c.id).limit(1))
READY = Prepared(_heads().where(_WANTED, _FREE, _MAY_GO).order_by(outbox.c.not_before_at, outbox.c.id).limit(given("count")))
LATER = Prepared(_heads().where(outbox.c.not_before_at > given("now")).order_by(_BEGINS, outbox.c.id).limit(given("count")))


_AUTOMATIC = select(drafts.c.id).where(drafts.c.id == outbox.c.draft_id, drafts.c.is_automatic).exists()
UNSETTLED_AUTOMATIC = Prepared(select(*COLUMNS).where(*_HERE, outbox.c.state.in_(UNSETTLED), _AUTOMATIC).order_by(outbox.c.id))


@cache
def _in_state(*states: State) -> Prepared:
    return Prepared(select(*COLUMNS).where(outbox.c.state.in_(states)).order_by(outbox.c.id))


@cache
def _of_dialog(*states: State) -> Prepared:
    return Prepared(select(*COLUMNS).where(*_HERE, outbox.c.state.in_(states)).order_by(outbox.c.id))


@cache
def _change(*names: str) -> Prepared:
    return Prepared(update(outbox).where(outbox.c.id == given("in_id")).values({name: given(name) for name in names}))


@cache
def _move(*names: str) -> Prepared:
    found = outbox.c.id == given("in_id"), outbox.c.state == given("in_state")
    return Prepared(update(outbox).where(*found).values({name: given(name) for name in ("state", *names)}))


class Step(Protocol):
    """When a bubble goes, and from when "typing..." is shown."""

    @property
    def typing_at(self) -> datetime: ...
    @property
    def not_before_at(self) -> datetime: ...


async def add(connection: AsyncConnection, draft: Draft, bubbles: Sequence[str], steps: Sequence[Step] = ()) -> None:
    """`steps`: one a bubble, or none: the first at once, the others when their turn comes."""
    asked = await messages.get(connection, draft.channel, draft.dialog_id, draft.answers_message_id) if draft.channel == "bot" else None
    thread_id = asked.thread_id if asked else None
    fixed = {"draft_id": draft.id, "channel": draft.channel, "dialog_id": draft.dialog_id, "state": "waiting", "thread_id": thread_id}
    times = [(step.typing_at, step.not_before_at) for step in steps]
    for i, text in enumerate(bubbles):
        typing_at, not_before_at = times[i] if i < len(times) else (None, None)
        fixed |= {"typing_at": typing_at, "not_before_at": not_before_at}
        await ADD.run(connection, **fixed, position=i, text=text, random_id=secrets.randbits(63))


async def forget_cancelled(connection: AsyncConnection, draft_id: int) -> None:
    """What was cancelled of a draft before anything was tried makes room for what goes instead."""
    await connection.execute(delete(outbox).where(outbox.c.draft_id == draft_id, outbox.c.state == "cancelled"))


async def get(connection: AsyncConnection, bubble_id: int) -> Bubble | None:
    row = await ONE.first(connection, which=bubble_id)
    return Bubble._make(row) if row else None


async def of_draft(connection: AsyncConnection, draft_id: int) -> list[Bubble]:
    return [Bubble._make(row) for row in await OF_DRAFT.rows(connection, which=draft_id)]


async def in_state(connection: AsyncConnection, *states: State) -> list[Bubble]:
    return [Bubble._make(row) for row in await _in_state(*states).rows(connection)]


async def first(connection: AsyncConnection) -> Bubble | None:
    """The bubble that may go out first, which may still have to wait for `not_before_at`.

    Order within a chat is kept: nothing passes an earlier bubble of its dialog that has not settled, so a chat with an
    uncertain bubble stands still until the owner has answered.
    """
    row = await FIRST.first(connection)
    return Bubble._make(row) if row else None


async def is_recorded(connection: AsyncConnection, channel: str, dialog_id: int, message_id: int) -> bool:
    """Whether this message is a send of ours whose outcome is known."""
    return await RECORDED.first(connection, channel=channel, dialog_id=dialog_id, message_id=message_id) is not None


async def in_doubt(connection: AsyncConnection, channel: str, dialog_id: int) -> list[Bubble]:
    """What was tried here and may have arrived, oldest first. A session's send waits for its next try while nobody knows."""
    return [Bubble._make(row) for row in await IN_DOUBT.rows(connection, channel=channel, dialog_id=dialog_id)]


async def open_kinds(connection: AsyncConnection) -> set[tuple[str, State]]:
    """The channels and states of all about which there is something to do, now or later."""
    return {(row[0], row[1]) for row in await OPEN_KINDS.rows(connection)}


async def ready(
    connection: AsyncConnection, now: datetime, *, limit: int, held: Collection[int] | None = (), only: int | None = None
) -> list[Bubble]:
    """The next bubble of each dialog, if its time has come. The account's dialogs `held` are passed over (None: all of them);
    `only` names one dialog."""
    free = {"held": json.dumps(list(held or ())), "all_held": held is None}
    return [Bubble._make(row) for row in await READY.rows(connection, now=now, count=limit, only=only, **free)]


async def later(connection: AsyncConnection, now: datetime, *, limit: int) -> list[Bubble]:
    """The next bubble of each dialog whose time has not come, in the order in which something begins for them."""
    return [Bubble._make(row) for row in await LATER.rows(connection, now=now, count=limit)]


async def tried_by_session(connection: AsyncConnection) -> set[int]:
    """Ids of what waits for another try by the session, which has perhaps sent it."""
    here = outbox.c.state == "waiting", outbox.c.way == "session"
    return set((await connection.execute(select(outbox.c.id).where(*here))).scalars())


async def of_dialog(connection: AsyncConnection, channel: str, dialog_id: int, states: Sequence[State]) -> list[Bubble]:
    return [Bubble._make(row) for row in await _of_dialog(*states).rows(connection, channel=channel, dialog_id=dialog_id)]


async def unsettled_automatic(connection: AsyncConnection, channel: str, dialog_id: int) -> list[Bubble]:
    """What has not settled here of answers that the twin let go by itself."""
    return [Bubble._make(row) for row in await UNSETTLED_AUTOMATIC.rows(connection, channel=channel, dialog_id=dialog_id)]


async def change(connection: AsyncConnection, bubble_id: int, **values: Any) -> None:
    """Set columns, the state left as it is."""
    await _change(*sorted(values)).run(connection, in_id=bubble_id, **values)


async def move(connection: AsyncConnection, bubble: Bubble, state: State, **values: Any) -> bool:
    """Change the state. False if it is no longer in the state in which `bubble` was read."""
    return await _move(*sorted(values)).run(connection, in_id=bubble.id, in_state=bubble.state, state=state, **values) == 1


async def fail_rest(connection: AsyncConnection, bubble: Bubble, error: str) -> None:
    await FAIL_REST.run(connection, in_draft=bubble.draft_id, after=bubble.position, error=error)


async def counts(connection: AsyncConnection) -> dict[str, int]:
    rows = await connection.execute(select(outbox.c.state, func.count()).group_by(outbox.c.state))
    return {row[0]: row[1] for row in rows}
