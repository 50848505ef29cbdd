"""What the twin did while the owner was away: counts per contact, since he was last seen.

Two facts survive a restart: when the owner was seen ("last") and from when on he was away before that ("left"); and the last morning
whose digest was given. A look on any morning after that one finds it due, so none is skipped and none is told twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.contacts import labels
from twin.replies import TIMED_OUT
from twin.settings import Settings
from twin.store import dialogs, facts
from twin.store.tables import IS_PENDING, decisions, drafts, outbox
from twin.turns import split_bubbles

SEEN, MORNING = "owner seen", "last digest"
AWAY = timedelta(minutes=30)  # without a sign of the owner for so long: he was away
FIRST = timedelta(days=1)  # what the first digest looks back on


@dataclass(frozen=True)
class Doings:
    """Of one contact. `automatic`: answers that went by themselves, `last` of them; `waiting`: cards; `expired`: nobody decided in time;
    `undelivered`: approved, and refused by Telegram or of unknown outcome."""

    dialog_id: int
    name: str
    automatic: int
    last: str
    waiting: int
    expired: int
    undelivered: int


@dataclass(frozen=True)
class Digest:
    since: datetime
    contacts: list[Doings]


async def seen(connection: AsyncConnection, now: datetime) -> None:
    """The owner gave a sign of life: to the bot, or in any of his chats. Written down once a minute at most."""
    known = await facts.get(connection, SEEN)
    if known is None:
        await facts.put(connection, SEEN, {"last": now.isoformat(), "left": (now - FIRST).isoformat()})
        return
    last = datetime.fromisoformat(known["last"])
    if now - last >= timedelta(minutes=1):
        await facts.put(connection, SEEN, {"last": now.isoformat(), "left": known["last"] if now - last >= AWAY else known["left"]})


async def away_since(connection: AsyncConnection, now: datetime) -> datetime:
    """The begin of the owner's newest absence, whether it lasts or he has come back from it."""
    known = await facts.get(connection, SEEN)
    if known is None:
        return now - FIRST
    last = datetime.fromisoformat(known["last"])
    return last if now - last >= AWAY else datetime.fromisoformat(known["left"])


async def read(connection: AsyncConnection, *, owner_id: int, now: datetime) -> Digest:
    """Contacts of whom there is something to say, those with an answer of the twin's own first."""
    since = await away_since(connection, now)
    automatic = await _counts(connection, _automatic(since))
    waiting = await _counts(connection, _drafts().where(IS_PENDING))
    expired = await _counts(
        connection, _drafts().where(drafts.c.state == "expired", drafts.c.settled_at > since, drafts.c.reason == TIMED_OUT)
    )
    failed = await _counts(connection, _drafts().where(drafts.c.state == "failed", drafts.c.settled_at > since))
    doubtful = await _counts(
        connection,
        select(outbox.c.dialog_id, func.count(outbox.c.draft_id.distinct()))
        .where(outbox.c.state == "uncertain")
        .group_by(outbox.c.dialog_id),
    )
    names = labels(await dialogs.find(connection))
    involved = {*automatic, *waiting, *expired, *failed, *doubtful} - {owner_id}
    contacts = [
        Doings(
            dialog_id=dialog_id,
            name=names.get(dialog_id, ""),
            automatic=automatic.get(dialog_id, 0),
            last=await _last_words(connection, dialog_id, since) if dialog_id in automatic else "",
            waiting=waiting.get(dialog_id, 0),
            expired=expired.get(dialog_id, 0),
            undelivered=failed.get(dialog_id, 0) + doubtful.get(dialog_id, 0),
        )
        for dialog_id in involved
    ]
    return Digest(since, sorted(contacts, key=lambda one: (-one.automatic, -one.waiting, one.name, one.dialog_id)))


# --- mornings --------------------------------------------------------------------------------------------------------------


async def morning_due(connection: AsyncConnection, settings: Settings, now: datetime, zone: tzinfo) -> datetime | None:
    """The morning whose digest is to be given now. None: it was given, or the owner wants none."""
    if settings.bot.digest_at is None:
        return None
    told = await facts.get(connection, MORNING)
    morning = last_morning(time.fromisoformat(settings.bot.digest_at), now, zone)
    return morning if told is not None and morning > datetime.fromisoformat(told) else None


async def note_morning(connection: AsyncConnection, morning: datetime) -> None:
    """Its digest was given, or there was nothing to say."""
    await facts.put(connection, MORNING, morning.isoformat())


async def begin_mornings(connection: AsyncConnection, now: datetime) -> None:
    """The first digest comes on the first morning after the twin was first started."""
    if await facts.get(connection, MORNING) is None:
        await note_morning(connection, now)


def last_morning(at: time, now: datetime, zone: tzinfo) -> datetime:
    """The newest coming of this time on the wall clock; in the night that has it twice, the first counts."""
    day = now.astimezone(zone).date()
    mornings = [datetime.combine(day - timedelta(days=back), at, zone).astimezone(UTC) for back in (0, 1)]
    return next(morning for morning in mornings if morning <= now)


# --- rows ------------------------------------------------------------------------------------------------------------------


def _drafts() -> Select[Any]:
    return select(drafts.c.dialog_id, func.count()).where(drafts.c.mode != "shadow").group_by(drafts.c.dialog_id)


def _automatic(since: datetime) -> Select[Any]:
    by_itself = select(decisions.c.draft_id).where(decisions.c.action == "auto", decisions.c.at > since)
    return _drafts().where(drafts.c.id.in_(by_itself), drafts.c.state.in_(("approved", "sending", "sent")))


async def _counts(connection: AsyncConnection, query: Select[Any]) -> dict[int, int]:
    return {row[0]: row[1] for row in await connection.execute(query)}


async def _last_words(connection: AsyncConnection, dialog_id: int, since: datetime) -> str:
    query = _automatic(since).with_only_columns(drafts.c.text).group_by(None).where(drafts.c.dialog_id == dialog_id)
    text = (await connection.execute(query.order_by(drafts.c.id.desc()).limit(1))).scalar_one_or_none()
    return " / ".join(" ".join(bubble.split()) for bubble in split_bubbles(text or ""))
