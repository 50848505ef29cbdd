"""The owner's desk: keeps every card as its draft is, and tells the owner what he must be told.

A card is a function of the store. Whoever changes a draft counts its revision up; this task shows the newest one. So a
card that could not be shown or changed (a crash, no network) is put right later, and none stays behind with dead buttons.

Two things come by the clock: [Undo] goes away when its time is over, and the morning's digest is given. Rows say when.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

import structlog
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest

from bot.buttons import doubt_keyboard
from bot.cards import MAX_TEXT, CardView, render
from bot.context import Twin, heard, to_its_end, utc_now
from bot.digest_text import digest_text
from bot.schedule import local_zone
from bot.telegram import ERRORS, Pause, explain, is_passing
from twin import decisions, digest, modes, quiet_hours, silence
from twin.nearest import past_replies
from twin.replies import HISTORY, answered_burst
from twin.store import dialogs, drafts, messages, notices, outbox
from twin.store.notices import Notice
from twin.utf16 import cut

log = structlog.get_logger()
UNREACHABLE_SECONDS = 30.0  # the owner has not started the bot, or has blocked it
LOOKED_BACK = 1000  # newest messages of a dialog among which the nearest past replies are looked for


async def keep_desk(twin: Twin, bot: Bot) -> None:
    """For ever."""
    pause = Pause()
    while True:
        twin.bells.desk.clear()
        try:
            await tidy(twin, bot)
        except ERRORS as exc:
            seconds = pause.next(exc) if is_passing(exc) else UNREACHABLE_SECONDS
            log.warning("desk.delayed", why=str(explain(exc)), error=type(exc).__name__, retry_seconds=seconds)
            await asyncio.sleep(seconds)
        else:
            pause.reset()
            await heard(twin.bells.desk, await _seconds_to_next(twin))


async def tidy(twin: Twin, bot: Bot) -> None:
    """Tell what is untold, then bring every card up to date, oldest first. Raises aiogram's errors if the owner cannot be reached."""
    now = utc_now()
    async with twin.store.connect() as connection:
        undo_end = await drafts.next_undo_end(connection)
    if undo_end and undo_end < now:
        async with twin.store.begin() as connection:
            await drafts.end_undo(connection, now)
    async with twin.store.connect() as connection:
        untold = await notices.untold(connection)
        stale = await drafts.unshown(connection, except_dialog_id=twin.owner_id)
        morning = await digest.morning_due(connection, twin.settings, now, local_zone())
    for notice in untold:
        await to_its_end(_tell(twin, bot, notice))
    for draft in stale:
        await to_its_end(_show(twin, bot, draft.id))
    if morning:
        await to_its_end(_greet(twin, bot, morning))


async def _seconds_to_next(twin: Twin) -> float | None:
    """How long nothing changes by itself: until the next [Undo] has had its time. Mornings are the housekeeper's, who rings."""
    async with twin.store.connect() as connection:
        undo_end = await drafts.next_undo_end(connection)
    return max(0.0, (undo_end - utc_now()).total_seconds()) + 0.01 if undo_end else None


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
    keyboard = doubt_keyboard(notice.outbox_id) if notice.outbox_id is not None else None
    try:
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
    card_id = draft.card_message_id
    # What ended before it was ever shown needs no card.
    if card_id is not None or draft.state not in ("expired", "rejected"):
        try:
            card_id = await _put(twin, bot, view)
        except TelegramBadRequest as exc:
            if "chat not found" in exc.message:
                raise
            if "not modified" not in exc.message:  # such as a card that the owner has deleted
                log.warning("card.refused", draft_id=draft.id)
    async with twin.store.begin() as connection:
        await drafts.mark_shown(connection, draft, card_id)


async def _put(twin: Twin, bot: Bot, view: CardView) -> int:
    """Send the card, or change the one that is there; returns its message id."""
    content = render(view).content()
    card_id = view.draft.card_message_id
    if card_id is None:
        card_id = (await bot.send_message(twin.owner_id, **content, disable_notification=_is_quiet(twin))).message_id
        log.info("card.sent", draft_id=view.draft.id, message_id=card_id)
    else:
        await bot.edit_message_text(chat_id=twin.owner_id, message_id=card_id, **content)
    return card_id


async def _view(twin: Twin, draft_id: int) -> CardView | None:
    async with twin.store.connect() as connection:
        draft = await drafts.get(connection, draft_id)
        if draft is None:  # forgotten with its contact
            return None
        dialog = await dialogs.get(connection, draft.dialog_id)
        asks = draft.state == "pending" and draft.author == "twin"
        history = await messages.history(connection, draft.dialog_id, newest=LOOKED_BACK if asks else HISTORY)
        words = answered_burst(history, draft)
        return CardView(
            draft=draft,
            name=dialog.name if dialog else "",
            words=words,
            sent=await outbox.of_draft(connection, draft.id),
            undoable=await decisions.is_undoable(connection, draft),
            max_variants=twin.settings.bot.max_variants,
            past=past_replies(history, words) if asks and words else [],
            is_automatic=await drafts.went_by_itself(connection, draft.id),
            is_auto=await modes.effective(connection, dialog, twin.settings) == "auto",
            silent_since=await silence.since(connection),
        )
