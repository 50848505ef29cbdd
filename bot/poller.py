"""The poll loop: an update is in the store before the poll that acknowledges it.

aiogram's own loop acknowledges first and loses what a kill interrupts: 70 of 1,500 updates with 18 kills.
"""

from __future__ import annotations

import asyncio

import structlog
from aiogram import Bot
from aiogram.exceptions import TelegramConflictError

from bot.context import Twin, utc_now
from bot.telegram import ERRORS, GetRawUpdates, Pause, explain, quietly
from twin.store import inbox

log = structlog.get_logger()
POLL_SECONDS = 25
ANSWER_SECONDS = 10  # what a poll may take longer than that


async def poll(twin: Twin, bot: Bot, kinds: list[str]) -> None:
    """For ever. `kinds` are the updates to ask for."""
    # Never an offset from an earlier life: after a week without updates Telegram starts at a random id, possibly a lower
    # one. Without an offset it sends whatever is not acknowledged, and the store knows what it has.
    offset: int | None = None
    pause = Pause()
    while True:
        ask = GetRawUpdates(offset=offset, timeout=POLL_SECONDS, allowed_updates=kinds)
        try:
            updates = await bot(ask, request_timeout=POLL_SECONDS + ANSWER_SECONDS)
        except ERRORS as exc:
            seconds = pause.next(exc)
            log.warning("poll.failed", why=str(explain(exc)), error=type(exc).__name__, retry_seconds=seconds)
            if isinstance(exc, TelegramConflictError) and "webhook" in str(exc):
                await quietly(bot.delete_webhook(drop_pending_updates=False), "webhook.kept")
            await asyncio.sleep(seconds)
            continue
        if pause.reset():
            log.info("poll.recovered")
        if not updates:
            offset = None
            continue
        async with twin.store.begin() as connection:
            new = await inbox.keep(connection, updates, utc_now())
        offset = max(update["update_id"] for update in updates) + 1
        log.debug("updates.received", count=len(updates), new=new)
        twin.bells.inbox.set()
