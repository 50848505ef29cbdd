"""The nightwatch: one message in the owner's chat follows a run and ends as its result card. A function of the rows: whoever
started the run, and whenever the bot was away, what the owner sees is put right."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import FSInputFile
from aiogram.utils.formatting import Text

from bot import run_card
from bot.context import Twin, heard, to_its_end, utc_now
from bot.telegram import ERRORS, Pause, explain, quietly
from twin.nights import STALE
from twin.store import runs
from twin.store.runs import Run

log = structlog.get_logger()
EDIT_SECONDS = 3.0  # at most so often
IDLE_SECONDS = 15.0
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
            seconds = pause.next(exc)
            log.warning("night.untold", why=str(explain(exc)), error=type(exc).__name__, retry_seconds=seconds)
            await asyncio.sleep(seconds)
        else:
            pause.reset()
            if going_on:
                await asyncio.sleep(EDIT_SECONDS)
            else:
                await heard(twin.bells.nights, IDLE_SECONDS)


async def tell(twin: Twin, bot: Bot, shown: dict[str, str]) -> bool:
    """Bring every untold run up to date in the owner's chat. True if one is going on."""
    async with twin.store.connect() as connection:
        untold = await runs.untold(connection)
    going_on = False
    for run in untold:
        now = utc_now()
        if run.state == "running":
            going_on = now - run.heartbeat_at < STALE
            if going_on:
                await to_its_end(_follow(twin, bot, run, shown))
        elif now - (run.ended_at or run.started_at) > OLD:
            await _mark(twin, run, "ended", run.message_id)
        else:
            await to_its_end(_end(twin, bot, run))
            shown.pop(run.run_id, None)
    return going_on


async def _follow(twin: Twin, bot: Bot, run: Run, shown: dict[str, str]) -> None:
    text = run_card.live(run)
    if shown.get(run.run_id) == str(text.as_kwargs()["text"]):
        return
    message_id = await _say(twin, bot, run.message_id, text)
    shown[run.run_id] = str(text.as_kwargs()["text"])
    if message_id != run.message_id:
        await _mark(twin, run, "live", message_id)


async def _end(twin: Twin, bot: Bot, run: Run) -> None:
    """The card if there was a comparison, else a line in place of the live message."""
    result = run_card.read_result(twin.settings.data / "runs" / run.run_id)
    if result is None:
        line = run.error if run.state == "failed" else str(run.detail.get("line") or "")
        message_id = await _say(twin, bot, run.message_id, run_card.ended(run, line or "What is sealed by then is used by the next one."))
        await _mark(twin, run, "ended", message_id)
        return
    text = run_card.caption(result, run).as_kwargs(text_key="caption", entities_key="caption_entities")
    photo = FSInputFile(result.picture)
    card = await bot.send_photo(twin.owner_id, photo, **text, reply_markup=run_card.keyboard(run))
    await _mark(twin, run, "ended", card.message_id)
    log.info("night.card_sent", run_id=run.run_id, message_id=card.message_id)
    if result.answers:
        answers = run_card.side_by_side(result).as_kwargs()
        await quietly(bot.send_message(twin.owner_id, **answers, reply_to_message_id=card.message_id), "night.answers_refused")
    if run.message_id is not None:
        await quietly(bot.delete_message(twin.owner_id, run.message_id), "night.live_message_kept")


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
