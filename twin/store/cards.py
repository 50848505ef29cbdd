"""Cards: which drafts' cards do not show them as they are, and until when an answer can be taken back.

A card shows one revision of its draft. Automatic answers' cards are made at Telegram's pace; those that the owner decides on go first.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, literal_column, null, select, text, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store.drafts import BUMPED, COLUMNS, WITH_WAITING, Draft
from twin.store.prepared import Prepared, given
from twin.store.tables import IS_PENDING, PACED, TO_REPLACE, drafts

BY_CARD = Prepared(select(*COLUMNS).where(drafts.c.card_message_id == given("card_id")).limit(1))
_STALE = drafts.c.shown_revision < drafts.c.revision, drafts.c.dialog_id != given("except_dialog_id")
UNSHOWN = Prepared(select(*COLUMNS).where(*_STALE, text(f"NOT ({PACED})")).order_by(drafts.c.id))
_PACED = select(*COLUMNS).where(*_STALE, text(PACED)).limit(given("count"))
UNSHOWN_AUTOMATIC = Prepared(_PACED.where(drafts.c.card_message_id.is_(None)).order_by(drafts.c.id.desc()))
OUTDATED_AUTOMATIC = Prepared(_PACED.where(drafts.c.card_message_id.is_not(None)).order_by(drafts.c.card_message_id.desc()))
END_UNDO = Prepared(update(drafts).where(drafts.c.undo_until < given("now")).values(undo_until=null(), **BUMPED))
PASS_OVER = Prepared(
    update(drafts)
    .where(
        *_STALE, text(PACED), literal_column("+drafts.state") == "sent", drafts.c.card_message_id.is_(None), drafts.c.undo_until.is_(None)
    )
    .values(shown_revision=drafts.c.revision)
)
MARK_SHOWN = Prepared(
    update(drafts)
    .where(drafts.c.id == given("which"))
    .values(card_message_id=given("card_message_id"), shown_revision=given("shown_revision"), shown_at=given("shown_at"))
)
_SEEN = drafts.c.card_message_id < given("message_id"), drafts.c.is_automatic.is_(False)
_ENDED_LATER = (drafts.c.shown_revision < drafts.c.revision) | (drafts.c.shown_at >= given("at"))
SEEN_WAITING = Prepared(
    select(*COLUMNS).where(*_SEEN, IS_PENDING | ((drafts.c.state == "expired") & _ENDED_LATER)).order_by(drafts.c.card_message_id.desc())
)
REPLACEABLE = Prepared(select(*COLUMNS).where(text(TO_REPLACE)))
NEWER_CARD = Prepared(
    select(*COLUMNS)
    .where(drafts.c.channel == given("channel"), drafts.c.dialog_id == given("dialog_id"))
    .where(drafts.c.id > given("which"), drafts.c.card_message_id.is_not(None))
    .order_by(drafts.c.id.desc())
    .limit(1)
)
MARK_REPLACED = Prepared(update(drafts).where(drafts.c.id == given("which")).values(is_replaced=true(), shown_at=given("shown_at")))
NEXT_UNDO_END = Prepared(select(func.min(drafts.c.undo_until)).where(drafts.c.undo_until.is_not(None)))


async def by_card(connection: AsyncConnection, card_message_id: int) -> Draft | None:
    row = await BY_CARD.first(connection, card_id=card_message_id)
    return Draft._make(row) if row else None


async def unshown(connection: AsyncConnection, *, except_dialog_id: int) -> list[Draft]:
    """Drafts whose card does not show their newest revision: those that the owner decides or decided on, oldest first."""
    return [Draft._make(row) for row in await UNSHOWN.rows(connection, except_dialog_id=except_dialog_id)]


async def unshown_automatic(connection: AsyncConnection, limit: int, *, except_dialog_id: int) -> list[Draft]:
    """The others: those that go by themselves, those without a card first, the newest first."""
    if limit <= 0:
        return []
    rows = await UNSHOWN_AUTOMATIC.rows(connection, except_dialog_id=except_dialog_id, count=limit)
    if len(rows) < limit:
        rows += await OUTDATED_AUTOMATIC.rows(connection, except_dialog_id=except_dialog_id, count=limit - len(rows))
    return [Draft._make(row) for row in rows]


async def pass_over(connection: AsyncConnection, *, except_dialog_id: int) -> int:
    """Automatic answers that never got a card and cannot be taken back any more get none; returns how many."""
    return await PASS_OVER.run(connection, except_dialog_id=except_dialog_id)


async def mark_shown(connection: AsyncConnection, draft: Draft, card_message_id: int | None, at: datetime | None) -> None:
    """The card shows this revision, `at` what time by Telegram's clock."""
    await MARK_SHOWN.run(connection, which=draft.id, card_message_id=card_message_id, shown_revision=draft.revision, shown_at=at)


async def seen_waiting(connection: AsyncConnection, message_id: int, at: datetime) -> list[Draft]:
    """What the owner saw waiting for him when he wrote this message in his chat with the bot, the newest card first: drafts whose card
    stood above it, and which are pending, or ended so late that the card did not say so yet. `at`: of his message, in whole seconds, by
    Telegram's clock, which is also that of the cards."""
    return [Draft._make(row) for row in await SEEN_WAITING.rows(connection, message_id=message_id, at=at)]


def shows(draft: Draft, message_id: int, at: datetime) -> bool:
    """Whether the card showed the draft's present words when the owner wrote this message. The first words are there from the
    beginning; later ones are shown when the card is changed."""
    if draft.card_message_id is None or draft.card_message_id >= message_id:
        return False
    return draft.variant == 1 or (draft.shown_revision == draft.revision and (draft.shown_at is None or draft.shown_at < at))


async def to_replace(connection: AsyncConnection) -> list[tuple[Draft, Draft]]:
    """Cards of drafts that a newer message ended, each with the newer draft whose card stands there now."""
    found = [Draft._make(row) for row in await REPLACEABLE.rows(connection)]
    newer = [await NEWER_CARD.first(connection, channel=d.channel, dialog_id=d.dialog_id, which=d.id) for d in found]
    return [(old, Draft._make(row)) for old, row in zip(found, newer, strict=True) if row]


async def mark_replaced(connection: AsyncConnection, draft: Draft, at: datetime | None) -> None:
    await MARK_REPLACED.run(connection, which=draft.id, shown_at=at)


async def adopt_card(connection: AsyncConnection, draft_id: int, card_message_id: int) -> None:
    """This message is the draft's card; it is to be brought up to date."""
    values = {"card_message_id": card_message_id, "revision": drafts.c.revision + 1}
    await connection.execute(update(drafts).where(drafts.c.id == draft_id).values(values))


async def show_again(connection: AsyncConnection) -> None:
    """The cards of everything that waits for the owner or is about to go have to change."""
    await connection.execute(update(drafts).where(IS_PENDING).values(BUMPED))
    about_to_go = drafts.c.state.in_(("approved", "edited")), drafts.c.id.in_(WITH_WAITING)
    await connection.execute(update(drafts).where(*about_to_go).values(BUMPED))


async def next_undo_end(connection: AsyncConnection) -> datetime | None:
    """When the next automatic answer can no longer be taken back."""
    row = await NEXT_UNDO_END.first(connection)
    return row[0] if row else None


async def end_undo(connection: AsyncConnection, now: datetime) -> None:
    """Cards of answers that can no longer be taken back lose [Undo]."""
    await END_UNDO.run(connection, now=now)
