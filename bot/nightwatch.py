"""The nightwatch: one message in the owner's chat follows a night and ends as its result card. A function of the rows: whoever
started the run, and whenever the bot was away, what the owner sees is put right.

told: "" ─▶ live (message_id is the one that follows it) ─▶ card (message_id is the card, its answers are to come) ─▶ ended
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import structlog
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import BufferedInputFile, ReplyParameters
from aiogram.utils.formatting import Text

from bot import run_card
from bot.context import Twin, heard, to_its_end, utc_now
from bot.run_card import Result
from bot.schedule import local_zone
from bot.telegram import ERRORS, Pause, explain, is_passing
from twin import nights
from twin.nights import Night
from twin.store import runs
from twin.store.runs import Run

log = structlog.get_logger()
EDIT_SECONDS = 3.0  # at most so often
IDLE_SECONDS = 15.0
UNREACHABLE_SECONDS = 30.0  # the owner has not started the bot, or has blocked it
OLD = timedelta(days=2)  # of what ended longer ago nobody needs a card any more


async def watch(twin: Twin, bot: Bot) -> None:
    """For ever."""
    pause = Pause()
    shown: dict[str, str] = {}  # what the live message says, so that it is edited only when that changes
    while True:
        twin.bells.nights.clear()
        try:
            going_on = await tell(twin, bot, shown)
        except ERRORS as exc:
            seconds = pause.next(exc) if is_passing(exc) else UNREACHABLE_SECONDS
            log.warning("night.untold", why=str(explain(exc)), error=type(exc).__name__, retry_seconds=seconds)
            await asyncio.sleep(max(seconds, EDIT_SECONDS))
        else:
            pause.reset()
            await asyncio.sleep(EDIT_SECONDS)  # whoever rings
            if not going_on:
                await heard(twin.bells.nights, max(0.0, IDLE_SECONDS - EDIT_SECONDS))


async def tell(twin: Twin, bot: Bot, shown: dict[str, str]) -> bool:
    """Bring every untold run up to date in the owner's chat. True if one is going on."""
    async with twin.store.connect() as connection:
        untold = await runs.untold(connection)
    going_on = False
    for run in untold:
        now = utc_now()
        if nights.lives(run, now):
            going_on = True
            await to_its_end(_follow(twin, bot, run, shown))
        elif run.state == "running":
            continue  # killed, or this machine slept: a look or a beat of its own changes that
        elif now - (run.ended_at or run.started_at) > OLD:
            await _mark(twin, run, "ended", run.message_id)
        else:
            await to_its_end(_end(twin, bot, run))
            shown.pop(run.run_id, None)
    return going_on


async def _follow(twin: Twin, bot: Bot, run: Run, shown: dict[str, str]) -> None:
    text = run_card.live(run, local_zone())
    if shown.get(run.run_id) == str(text.as_kwargs()["text"]):
        return
    before = run.message_id or await _message_of_earlier_attempt(twin, run)
    message_id = await _say(twin, bot, before, text)
    shown[run.run_id] = str(text.as_kwargs()["text"])
    if message_id != run.message_id:
        await _mark(twin, run, "live", message_id)


async def _message_of_earlier_attempt(twin: Twin, run: Run) -> int | None:
    """A night has one message, however often it is tried."""
    if run.night_at is None:
        return None
    async with twin.store.connect() as connection:
        attempts = await runs.of_night(connection, run.night_at)
    return next((earlier.message_id for earlier in attempts if earlier.run_id != run.run_id and earlier.message_id), None)


async def _end(twin: Twin, bot: Bot, run: Run) -> None:
    """The card if there was a comparison, else a line in place of the live message."""
    result = run_card.read_result(twin.settings.data / "runs" / run.run_id)
    if run.told == "card":
        await _show_answers(twin, bot, run, result)
    elif run.state == "done" and (result or run_card.keyboard(run)):
        await _show_card(twin, bot, run, result)
    else:
        await _close(twin, bot, run)


async def _close(twin: Twin, bot: Bot, run: Run) -> None:
    async with twin.store.connect() as connection:
        attempts = await runs.of_night(connection, run.night_at) if run.night_at else [run]
    if attempts[0].run_id != run.run_id:  # the next attempt has the word
        await _mark(twin, run, "ended", run.message_id)
        return
    before = run.message_id or await _message_of_earlier_attempt(twin, run)
    message_id = await _say(twin, bot, before, run_card.ended(run, _outlook(run, attempts)))
    await _mark(twin, run, "ended", message_id)


def _outlook(run: Run, attempts: list[Run]) -> str:
    """Whether it is tried again by itself."""
    if run.night_at is None or run.trigger == "terminal" or run.state == "done":
        return ""
    night = Night(run.night_at, "owner" if run.trigger == "owner" else "schedule")
    decision = nights.decide(night, attempts, now=utc_now(), is_training=False)
    if decision.what == "wait" and decision.not_before:
        return f"It is tried again at {decision.not_before.astimezone(local_zone()):%H:%M}."
    if decision.what == "again":
        return "It is picked up from what is done already."
    if len(attempts) >= nights.ATTEMPTS and run.state == "failed":
        return "That was the last attempt; the next night tries anew."
    return ""


async def _show_card(twin: Twin, bot: Bot, run: Run, result: Result | None) -> None:
    """The live message goes first: were this to stop half-way, going on from there finds nothing to delete, and no dead bar stays."""
    if run.message_id is not None:
        try:
            await bot.delete_message(twin.owner_id, run.message_id)
        except TelegramBadRequest:
            log.info("night.live_message_kept", run_id=run.run_id)  # gone already, or too old
    silent = run.trigger == "schedule"
    text = run_card.caption(result, run)
    more: dict[str, Any] = {"reply_markup": run_card.keyboard(run), "disable_notification": silent}
    card = None
    if result and result.picture.exists():
        caption = text.as_kwargs(text_key="caption", entities_key="caption_entities")
        try:
            # In memory, some 60 KB: a request that is cut off would leave the file open.
            picture = BufferedInputFile(result.picture.read_bytes(), result.picture.name)
            card = await bot.send_photo(twin.owner_id, picture, **caption, **more)
        except TelegramBadRequest as exc:
            if "chat not found" in exc.message:
                raise
            log.error("night.picture_refused", run_id=run.run_id)
    if card is None:
        card = await bot.send_message(twin.owner_id, **text.as_kwargs(), **more)
    await _mark(twin, run, "card", card.message_id)
    log.info("night.card_sent", run_id=run.run_id, message_id=card.message_id)
    async with twin.store.connect() as connection:
        marked = await runs.get(connection, run.run_id)
    await _show_answers(twin, bot, marked or run, result)


async def _show_answers(twin: Twin, bot: Bot, run: Run, result: Result | None) -> None:
    if result and result.answers and run.message_id:
        text = run_card.side_by_side(result).as_kwargs()
        try:
            card = ReplyParameters(message_id=run.message_id, allow_sending_without_reply=True)
            await bot.send_message(twin.owner_id, **text, reply_parameters=card, disable_notification=True)
        except TelegramBadRequest as exc:
            if "chat not found" in exc.message:
                raise
            log.error("night.answers_refused", run_id=run.run_id)
    await _mark(twin, run, "ended", run.message_id)


async def _say(twin: Twin, bot: Bot, message_id: int | None, text: Text) -> int:
    """Change the message that follows the run, or send it if there is none (any more); returns its id."""
    if message_id is not None:
        try:
            await bot.edit_message_text(chat_id=twin.owner_id, message_id=message_id, **text.as_kwargs())
            return message_id
        except TelegramBadRequest as exc:
            if "not modified" in exc.message:
                return message_id
            if "chat not found" in exc.message:
                raise
    return (await bot.send_message(twin.owner_id, **text.as_kwargs(), disable_notification=True)).message_id


async def _mark(twin: Twin, run: Run, told: str, message_id: int | None) -> None:
    async with twin.store.begin() as connection:
        await runs.mark_told(connection, run.run_id, told, message_id)
