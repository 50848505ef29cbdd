"""The owner's desk: keeps every card as its draft is, and tells the owner what he must be told.

A card is a function of the store. Whoever changes a draft counts its revision up; this task shows the newest one. So a
card that could not be shown or changed (a crash, no network) is put right later, and none stays behind with dead buttons.

Many automatic answers at once would be more cards than Telegram takes, so those are shown as fast as it does, the newest first; what
could not be shown before its [Undo] was over is counted in one line, and stands in the digest.

Two things come by the clock: [Undo] goes away when its time is over, and the morning's digest is given. Rows say when.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import structlog
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import Message

from bot.buttons import doubt_keyboard
from bot.cards import MAX_TEXT, CardView, render
from bot.context import Twin, heard, to_its_end, utc_now
from bot.digest_text import digest_text
from bot.schedule import local_zone
from bot.telegram import ERRORS, Pause, explain, is_passing
from twin import decisions, digest, modes, quiet_hours, silence
from twin.contacts import label
from twin.nearest import past_replies
from twin.replies import HISTORY, answered_burst
from twin.store import cards, dialogs, drafts, messages, notices, outbox
from twin.store.drafts import Draft
from twin.store.notices import Notice
from twin.utf16 import cut

log = structlog.get_logger()
UNREACHABLE_SECONDS = 30.0  # the owner has not started the bot, or has blocked it
BURST, SECONDS_A_CARD = 20, 1.0  # cards of automatic answers: how many at once, and how often then
REST_SECONDS = 0.05  # an answer that goes out changes its card several times in a row: the last one is shown
LOOKED_BACK = 1000  # newest messages of a dialog among which the nearest past replies are looked for


class Allowance:
    """How many cards of automatic answers may be sent or changed now: Telegram takes about one message a second in one chat, and
    short bursts of more (https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this). What the owner decides
    on is not held up by it."""

    def __init__(self, now: datetime) -> None:
        self._left, self._at = float(BURST), now

    def left(self, now: datetime) -> int:
        earned = max(0.0, (now - self._at).total_seconds()) / SECONDS_A_CARD  # a clock may be set back
        self._left, self._at = min(float(BURST), self._left + earned), now
        return int(self._left)

    def take(self) -> None:
        self._left -= 1

    @property
    def seconds_to_next(self) -> float:
        return max(0.0, 1 - self._left) * SECONDS_A_CARD


async def keep_desk(twin: Twin, bot: Bot) -> None:
    """For ever."""
    pause = Pause()
    allowance = Allowance(utc_now())
    while True:
        twin.bells.desk.clear()
        try:
            await tidy(twin, bot, allowance)
        except ERRORS as exc:
            seconds = pause.next(exc) if is_passing(exc) else UNREACHABLE_SECONDS
            log.warning("desk.delayed", why=str(explain(exc)), error=type(exc).__name__, retry_seconds=seconds)
            await asyncio.sleep(seconds)
        else:
            pause.reset()
            await heard(twin.bells.desk, await _seconds_to_next(twin, allowance))
            await asyncio.sleep(REST_SECONDS)


async def tidy(twin: Twin, bot: Bot, allowance: Allowance) -> None:
    """Tell what is untold, then bring every card up to date, oldest first. Raises aiogram's errors if the owner cannot be reached."""
    now = utc_now()
    async with twin.store.connect() as connection:
        undo_end = await cards.next_undo_end(connection)
    if undo_end and undo_end < now:
        await _end_undo(twin, now, is_short=not allowance.left(now))
    async with twin.store.connect() as connection:
        untold = await notices.untold(connection)
        stale = await cards.unshown(connection, except_dialog_id=twin.owner_id)
        automatic = await cards.unshown_automatic(connection, allowance.left(now), except_dialog_id=twin.owner_id)
        morning = await digest.morning_due(connection, twin.settings, now, local_zone())
    for notice in untold:
        await to_its_end(_tell(twin, bot, notice))
    for draft in stale:
        await to_its_end(_show(twin, bot, draft.id))
    for draft in automatic:
        allowance.take()
        await to_its_end(_show(twin, bot, draft.id))
    async with twin.store.connect() as connection:
        replaced = await cards.to_replace(connection)
    for old, newer in replaced:
        await to_its_end(_make_room(twin, bot, old, newer))
    if morning:
        await to_its_end(_greet(twin, bot, morning))


async def _end_undo(twin: Twin, now: datetime, *, is_short: bool) -> None:
    """`is_short`: more cards wait than may be shown."""
    async with twin.store.begin() as connection:
        await cards.end_undo(connection, now)
        passed_over = await cards.pass_over(connection, except_dialog_id=twin.owner_id) if is_short else 0
        if passed_over:
            answers = "1 answer has" if passed_over == 1 else f"{passed_over} answers have"
            line = f"{answers} gone by itself without a card, because more went than Telegram lets me show. /digest lists them."
            await notices.add(connection, line if passed_over == 1 else line.replace("itself", "themselves"), now)
    if passed_over:
        log.warning("cards.passed_over", count=passed_over)


async def _seconds_to_next(twin: Twin, allowance: Allowance) -> float | None:
    """How long nothing changes by itself: until the next [Undo] has had its time, or the next card of an automatic answer may be shown.
    Mornings are the housekeeper's, who rings."""
    async with twin.store.connect() as connection:
        undo_end = await cards.next_undo_end(connection)
        waits = await cards.unshown_automatic(connection, 1, except_dialog_id=twin.owner_id)
    times = [max(0.0, (undo_end - utc_now()).total_seconds()) + 0.01] if undo_end else []
    return min([*times, *([allowance.seconds_to_next] if waits else [])], default=None)


async def _greet(twin: Twin, bot: Bot, morning: datetime) -> None:
    """The morning's digest, if there is something to say."""
    now = utc_now()
    async with twin.store.connect() as connection:
        found = await digest.read(connection, owner_id=twin.owner_id, now=now)
        silent_since = await silence.since(connection)
    if found.contacts:
        text = digest_text(found, silent_since=silent_since, now=now, zone=local_zone())
        await bot.send_message(twin.owner_id, **text.as_kwargs(), disable_notification=_is_quiet(twin))
        log.info("digest.sent", contacts=len(found.contacts))
    async with twin.store.begin() as connection:
        await digest.note_morning(connection, morning)


def _is_quiet(twin: Twin) -> bool:
    return quiet_hours.is_quiet(twin.settings, utc_now().astimezone(local_zone()))


async def _tell(twin: Twin, bot: Bot, notice: Notice) -> None:
    async with twin.store.connect() as connection:
        doubted = await outbox.get(connection, notice.outbox_id) if notice.outbox_id is not None else None
    keyboard = doubt_keyboard(doubted) if doubted else None
    try:
        if doubted is None or doubted.state == "uncertain":  # else it has been settled, and there is nothing to ask any more
            await bot.send_message(twin.owner_id, cut(notice.text, MAX_TEXT), reply_markup=keyboard, disable_notification=_is_quiet(twin))
    except TelegramBadRequest as exc:
        if "chat not found" in exc.message:
            raise
        log.error("notice.refused", notice_id=notice.id)
    async with twin.store.begin() as connection:
        await notices.mark_told(connection, notice.id, utc_now())


async def _show(twin: Twin, bot: Bot, draft_id: int) -> None:
    view = await _view(twin, draft_id)
    if view is None:
        return
    draft = view.draft
    card_id, at = draft.card_message_id, draft.shown_at
    # What ended before it was ever shown needs no card, and what has made room for a newer one gets none again.
    if not draft.is_replaced and (card_id is not None or draft.state not in ("expired", "rejected")):
        try:
            card_id, at = await _put(twin, bot, view)
        except TelegramBadRequest as exc:
            if "chat not found" in exc.message:
                raise
            if "not modified" not in exc.message:  # such as a card that the owner has deleted
                log.warning("card.refused", draft_id=draft.id)
    async with twin.store.begin() as connection:
        await cards.mark_shown(connection, draft, card_id, at)


async def _put(twin: Twin, bot: Bot, view: CardView) -> tuple[int, datetime | None]:
    """Send the card, or change the one that is there; returns its message id, and since when it shows this."""
    content = render(view).content()
    card_id = view.draft.card_message_id
    if card_id is None:
        sent = await bot.send_message(twin.owner_id, **content, disable_notification=_is_quiet(twin))
        log.info("card.sent", draft_id=view.draft.id, message_id=sent.message_id)
        return sent.message_id, sent.date
    changed = await bot.edit_message_text(chat_id=twin.owner_id, message_id=card_id, **content)
    edited = changed.edit_date if isinstance(changed, Message) else None
    return card_id, datetime.fromtimestamp(edited, UTC) if edited else None


async def _make_room(twin: Twin, bot: Bot, old: Draft, newer: Draft) -> None:
    """The card of what a newer message ended goes: the one for that message has come. One that Telegram does not let go (after 48 hours,
    https://core.telegram.org/bots/api#deletemessage) stays as it is."""
    assert old.card_message_id
    try:
        await bot.delete_message(twin.owner_id, old.card_message_id)
    except TelegramBadRequest:
        log.warning("card.kept", draft_id=old.id)
    async with twin.store.begin() as connection:
        await cards.mark_replaced(connection, old, newer.shown_at)


async def _view(twin: Twin, draft_id: int) -> CardView | None:
    async with twin.store.connect() as connection:
        draft = await drafts.get(connection, draft_id)
        if draft is None:  # forgotten with its contact
            return None
        dialog = await dialogs.get(connection, draft.dialog_id)
        name = await label(connection, draft.dialog_id)
        asks = draft.state == "pending" and draft.author == "twin"
        history = await messages.history(connection, draft.dialog_id, newest=LOOKED_BACK if asks else HISTORY)
        words = answered_burst(history, draft)
        return CardView(
            draft=draft,
            name=name,
            words=words,
            sent=await outbox.of_draft(connection, draft.id),
            undoable=await decisions.is_undoable(connection, draft),
            max_variants=twin.settings.bot.max_variants,
            past=past_replies(history, words) if asks and words else [],
            is_auto=await modes.effective(connection, dialog, twin.settings) == "auto",
            silent_since=await silence.since(connection),
        )
