"""The worker: takes updates out of the inbox in order and hands them to aiogram's dispatcher.

An update is done when its handler has returned. After a crash it is handled again, so handlers may be repeated. One that
fails three times is set aside, so that it cannot hold up the others, and the owner is told once.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import structlog
from aiogram import Bot, Dispatcher
from aiogram.types import Update

from bot.context import Twin, utc_now
from bot.telegram import ERRORS, Pause, explain, is_passing
from twin.store import inbox, notices
from twin.store.inbox import Received

log = structlog.get_logger()
ATTEMPTS = 3
PASSING_ATTEMPTS = 20  # tries, about a quarter of an hour, while it is only Telegram that cannot be reached
RETRY_SECONDS = 0.2
HEAD = 80  # characters of an update in which its kind is named


async def suspect_first(twin: Twin) -> None:
    """Before anything new can come in: what a life before left undone was perhaps what ended it."""
    async with twin.store.begin() as connection:
        interrupted = await inbox.first(connection)
        if interrupted:
            await inbox.count_failure(connection, interrupted.update_id)


async def work(twin: Twin, bot: Bot, dispatcher: Dispatcher) -> None:
    """For ever."""
    pause = Pause()
    while True:
        twin.bells.inbox.clear()
        async with twin.store.connect() as connection:
            received = await inbox.first(connection)
        while received:
            received = await _handle(twin, bot, dispatcher, received, pause)
        await twin.bells.inbox.wait()


async def _handle(twin: Twin, bot: Bot, dispatcher: Dispatcher, received: Received, pause: Pause) -> Received | None:
    """Handle one update; returns the one to handle next, which is the same again if it has to be repeated."""
    if received.attempts >= ATTEMPTS:
        return await _set_aside(twin, received.update_id, "Interrupted")
    try:
        update = Update.model_validate(json.loads(received.payload), context={"bot": bot})
        await dispatcher.feed_update(bot, update, update_id=received.update_id)
    except ERRORS as exc:
        if is_passing(exc) and pause.failures < PASSING_ATTEMPTS:
            seconds = pause.next(exc)
            log.warning("update.delayed", update_id=received.update_id, why=str(explain(exc)), retry_seconds=seconds)
            await asyncio.sleep(seconds)
            return received
        pause.reset()
        return await _failed(twin, received, exc)
    except Exception as exc:  # noqa: BLE001 - any bug in any handler: this update must not stop the ones behind it
        return await _failed(twin, received, exc)
    pause.reset()
    async with twin.store.begin() as connection:
        await inbox.finish(connection, received.update_id, utc_now())
        following = await inbox.first(connection)
    if "business" in received.payload[:HEAD]:
        twin.bells.outbox.set()  # while it was not handled it held back what goes into the same chat
    return following


async def _failed(twin: Twin, received: Received, error: Exception) -> Received | None:
    """The class of the error is logged, never its message, which may quote what somebody wrote."""
    attempt = received.attempts + 1
    log.error("update.failed", update_id=received.update_id, attempt=attempt, error=type(error).__name__, place=place(error))
    if attempt >= ATTEMPTS:
        return await _set_aside(twin, received.update_id, type(error).__name__)
    async with twin.store.begin() as connection:
        await inbox.count_failure(connection, received.update_id)
    await asyncio.sleep(RETRY_SECONDS)
    return replace(received, attempts=attempt)


async def _set_aside(twin: Twin, update_id: int, error: str) -> Received | None:
    async with twin.store.begin() as connection:
        await inbox.set_aside(connection, update_id, error, utc_now())
        line = f"I could not handle something that Telegram sent me (update {update_id}, {error}) and set it aside. The log says where."
        await notices.add(connection, line, utc_now())
        following = await inbox.first(connection)
    log.error("update.set_aside", update_id=update_id, error=error)
    twin.bells.desk.set()
    return following


def place(error: Exception) -> str:
    """Module and line where it arose."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '')}:{trace.tb_lineno}" if trace else ""
