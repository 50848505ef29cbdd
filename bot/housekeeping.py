"""Housekeeping: expires drafts nobody decided on, forgets old inbox rows, and rings for the morning's digest."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from bot.context import Twin, utc_now
from bot.schedule import local_zone
from twin import digest, replies
from twin.store import inbox

log = structlog.get_logger()
ROUND_SECONDS = 30.0
KEEP_DAYS = 7


async def keep_house(twin: Twin) -> None:
    """For ever."""
    every = min(ROUND_SECONDS, twin.settings.bot.expire_hours * 3600 / 4)
    while True:
        now = utc_now()
        async with twin.store.begin() as connection:
            expired = await replies.expire(connection, twin.settings, now)
            await inbox.purge(connection, now - timedelta(days=KEEP_DAYS))
            await digest.begin_mornings(connection, now)
            morning = await digest.morning_due(connection, twin.settings, now, local_zone())
        for draft_id in expired:
            log.info("draft.expired", draft_id=draft_id)
        if expired or morning:
            twin.bells.desk.set()
        await asyncio.sleep(every)
