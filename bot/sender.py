"""The sender: takes bubbles out of the outbox, in order within each chat, and settles every outcome in the store.

waiting ─(committed)─▶ sending ─request─▶ sent | waiting (certainly not gone) | failed (refused) | uncertain (nobody knows)

The Bot API has no idempotency key, so a bubble of unknown outcome is never sent again on a guess.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from aiogram import Bot
from aiogram.exceptions import TelegramForbiddenError, TelegramRetryAfter

from bot.context import Twin, heard, to_its_end, utc_now
from bot.telegram import ERRORS, Outcome, Pause, explain, outcome, quietly
from bot.ways import NotSent
from bot.ways.session import SessionWay
from twin import sending
from twin.store import outbox
from twin.store.outbox import Bubble

log = structlog.get_logger()


async def send(twin: Twin, bot: Bot, session: SessionWay | None = None) -> None:
    """For ever."""
    async with twin.store.begin() as connection:
        interrupted = await sending.recover(connection, twin.settings, utc_now())
    if interrupted:
        log.warning("sends.interrupted", count=interrupted)
        twin.bells.ring()
    pause = Pause()
    while True:
        twin.bells.outbox.clear()
        async with twin.store.connect() as connection:
            bubble = await outbox.first(connection)
        seconds = None if bubble is None else ((bubble.not_before_at or utc_now()) - utc_now()).total_seconds()
        if bubble is None or (seconds and seconds > 0):
            await heard(twin.bells.outbox, seconds)
        else:
            await asyncio.sleep(await to_its_end(_send(twin, bot, session, bubble, pause)))


async def _send(twin: Twin, bot: Bot, session: SessionWay | None, bubble: Bubble, pause: Pause) -> float:
    """Send one bubble; returns how long to leave Telegram alone."""
    async with twin.store.begin() as connection:
        begun = await sending.begin(connection, bubble, utc_now())
        if begun and begun.channel == "account":
            await outbox.move(connection, begun, "sending", way="session")
            begun = replace(begun, way="session")
    if begun is None:
        return 0.0
    if begun.channel == "account" and session:
        return await _through_session(twin, session, begun, pause)
    try:
        message = await bot.send_message(begun.dialog_id, begun.text)
    except ERRORS as exc:
        return await _not_sent(twin, begun, exc, pause)
    pause.reset()
    async with twin.store.begin() as connection:
        more = await sending.arrived(
            connection, begun, message_id=message.message_id, sent_at=_utc(message.date), settings=twin.settings, now=utc_now()
        )
    log.info("bubble.sent", outbox_id=begun.id, draft_id=begun.draft_id, dialog_id=begun.dialog_id, message_id=message.message_id)
    twin.bells.ring()
    if more:
        await quietly(bot.send_chat_action(begun.dialog_id, "typing"), "typing.refused", chat_id=begun.dialog_id)
    return 0.0


async def _through_session(twin: Twin, session: SessionWay, begun: Bubble, pause: Pause) -> float:
    try:
        delivered = await session.send(begun)
    except NotSent as exc:
        seconds = exc.seconds or min(60.0, 0.2 * 2.0**pause.failures)
        pause.failures += 1
        async with twin.store.begin() as connection:
            if exc.outcome is Outcome.REFUSED:
                await sending.fail(connection, begun, exc.why, twin.settings, utc_now())
            else:
                await sending.wait(connection, begun, utc_now() + timedelta(seconds=seconds))
        twin.bells.ring()
        return 0.0
    pause.reset()
    async with twin.store.begin() as connection:
        await sending.arrived(
            connection, begun, message_id=delivered.message_id, sent_at=delivered.sent_at, settings=twin.settings, now=utc_now()
        )
    twin.bells.ring()
    return 0.0


async def _not_sent(twin: Twin, bubble: Bubble, error: Exception, pause: Pause) -> float:
    how = outcome(error)
    seconds = pause.next(error) if how is Outcome.NOT_DONE else 0.0
    async with twin.store.begin() as connection:
        match how:
            case Outcome.NOT_DONE:
                await sending.wait(connection, bubble, utc_now() + timedelta(seconds=seconds))
            case Outcome.UNKNOWN:
                await sending.doubt(connection, bubble, twin.settings, utc_now())
            case Outcome.REFUSED:
                await sending.fail(connection, bubble, _why(error), twin.settings, utc_now())
    why, ids = str(explain(error)), {"outbox_id": bubble.id, "dialog_id": bubble.dialog_id}
    log.warning("bubble.not_sent", outcome=how.value, why=why, error=type(error).__name__, **ids)
    twin.bells.ring()
    # A flood limit is this chat's own (its bubble waits in the store); without a network nothing else would go either.
    return 0.0 if isinstance(error, TelegramRetryAfter) else seconds


def _why(error: Exception) -> str:
    """For the owner."""
    text = str(getattr(error, "message", ""))
    if isinstance(error, TelegramForbiddenError):
        return "they have blocked the bot" if "blocked" in text else "Telegram does not let the bot write to them"
    if "chat not found" in text:
        return "Telegram knows no such chat"
    return f"Telegram refused it ({text.removeprefix('Bad Request: ')})"


def _utc(date: datetime | Any) -> datetime:
    return date if isinstance(date, datetime) else datetime.fromtimestamp(date, UTC)
