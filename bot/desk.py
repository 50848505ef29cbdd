"""The owner's desk: keeps every card as its draft is, and tells the owner what he must be told.

A card is a function of the store. Whoever changes a draft counts its revision up; this task shows the newest one. So a
card that could not be shown or changed (a crash, no network) is put right later, and none stays behind with dead buttons.
"""

from __future__ import annotations

import asyncio

import structlog
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest

from bot.cards import MAX_TEXT, CardView, doubt_keyboard, render
from bot.context import Twin, to_its_end, utc_now
from bot.telegram import ERRORS, Pause, explain, is_passing
from twin import decisions
from twin.replies import HISTORY, answered_burst
from twin.store import dialogs, drafts, messages, notices, outbox
from twin.store.notices import Notice
from twin.utf16 import cut

log = structlog.get_logger()
UNREACHABLE_SECONDS = 30.0  # the owner has not started the bot, or has blocked it


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
            await twin.bells.desk.wait()


async def tidy(twin: Twin, bot: Bot) -> None:
    """Tell what is untold, then bring every card up to date, oldest first. Raises aiogram's errors if the owner cannot be reached."""
    async with twin.store.connect() as connection:
        untold = await notices.untold(connection)
        stale = await drafts.unshown(connection, except_dialog_id=twin.owner_id)
    for notice in untold:
        await to_its_end(_tell(twin, bot, notice))
    for draft in stale:
        await to_its_end(_show(twin, bot, draft.id))


async def _tell(twin: Twin, bot: Bot, notice: Notice) -> None:
    keyboard = doubt_keyboard(notice.outbox_id) if notice.outbox_id is not None else None
    try:
        await bot.send_message(twin.owner_id, cut(notice.text, MAX_TEXT), reply_markup=keyboard)
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
        card_id = (await bot.send_message(twin.owner_id, **content)).message_id
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
        history = await messages.history(connection, draft.dialog_id, newest=HISTORY)
        return CardView(
            draft=draft,
            name=dialog.name if dialog else "",
            words=answered_burst(history, draft),
            sent=await outbox.of_draft(connection, draft.id),
            undoable=await decisions.is_undoable(connection, draft),
            max_variants=twin.settings.bot.max_variants,
        )
