"""The poll loop: an update is in the store before the poll that acknowledges it.

aiogram's own loop acknowledges first and loses what a kill interrupts: 70 of 1,500 updates with 18 kills.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from aiogram import Bot
from aiogram.exceptions import TelegramConflictError

from bot.context import Twin, utc_now
from bot.plain import take_in
from bot.telegram import ERRORS, LONGEST_PAUSE, GetRawUpdates, Pause, explain, quietly
from bot.worker import place
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
        numbered = [update for update in updates if _is_numbered(update)]
        if not numbered:  # no answer of Telegram's: nothing in it could be acknowledged
            log.error("updates.without_number", count=len(updates), retry_seconds=LONGEST_PAUSE)
            await asyncio.sleep(LONGEST_PAUSE)
            continue
        await _keep(twin, numbered)
        offset = max(update["update_id"] for update in numbered) + 1


def _is_numbered(update: dict[str, Any]) -> bool:
    """Whether it has what it is kept and acknowledged by."""
    number = update.get("update_id")
    return type(number) is int and 0 <= number < 2**63


async def _keep(twin: Twin, updates: list[dict[str, Any]]) -> None:
    rest: Sequence[Mapping[str, Any]]
    try:
        async with twin.store.begin() as connection:
            rest = await take_in(connection, updates, twin)
            await inbox.keep(connection, rest, utc_now())
    except Exception as exc:  # noqa: BLE001 - nothing is lost by a bug: the inbox knows what to do with an update that cannot be handled
        log.error("updates.not_taken_in", count=len(updates), error=type(exc).__name__, place=place(exc))
        rest = updates
        async with twin.store.begin() as connection:
            await inbox.keep(connection, updates, utc_now())
    log.debug("updates.received", count=len(updates), for_inbox=len(rest))
    if rest:
        twin.bells.inbox.set()
    if len(rest) < len(updates):
        twin.bells.ring()
