"""The worker: takes updates out of the inbox and hands them to aiogram's dispatcher.

Order is kept within a chat, and between whatever is not a chat's: commands, taps, connections. What several contacts wrote is
handled side by side, so that it shares its commits.

An update is done when its handler has returned. After a crash it is handled again, and has its effect once (`bot.once`). One that
fails three times, or ends the process three times, is set aside, so that it cannot hold up the others, and the owner is told
once. An update that only waited while the process ended is handled alone once, and nothing else is held against it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog
from aiogram import Bot, Dispatcher
from aiogram.types import Update

from bot.context import Twin, utc_now
from bot.once import Once
from bot.telegram import ERRORS, Pause, explain, is_passing
from twin.store import inbox, notices
from twin.store.inbox import Received

log = structlog.get_logger()
AT_ONCE = 50  # updates looked at; a flood must not fill the memory
ATTEMPTS = 3
PASSING_ATTEMPTS = 20  # tries, about a quarter of an hour, while it is only Telegram that cannot be reached
RETRY_SECONDS = 0.2
HEAD = 80  # characters of an update in which its kind is named
OF_A_CHAT = ("message", "edited_message", "business_message", "edited_business_message", "deleted_business_messages")


async def suspect_first(twin: Twin) -> None:
    """Before anything new can come in: what a life before left undone was perhaps what ended it."""
    async with twin.store.begin() as connection:
        interrupted = await inbox.first(connection)
        if interrupted and not interrupted.attempts:
            await inbox.count_failure(connection, interrupted.update_id)


async def work(twin: Twin, bot: Bot, dispatcher: Dispatcher) -> None:
    """For ever."""
    pause = Pause()

    async def one_by_one(chat: list[Received]) -> None:
        for received in chat:
            again = await _begin(twin, received)
            while again:
                again = await _handle(twin, bot, dispatcher, again, pause)

    while True:
        twin.bells.inbox.clear()
        while chats := side_by_side(await _waiting(twin), twin.owner_id):
            async with asyncio.TaskGroup() as group:
                for chat in chats:
                    group.create_task(one_by_one(chat))
        await twin.bells.inbox.wait()


async def _waiting(twin: Twin) -> list[Received]:
    async with twin.store.connect() as connection:
        return await inbox.waiting(connection, limit=AT_ONCE)


def side_by_side(waiting: Sequence[Received], owner_id: int) -> list[list[Received]]:
    """What may be handled now, the oldest in any case: lists that are independent of each other, each to be kept in order.

    One that has failed is handled alone. If it ends the process, it is the one that is suspected at the next start.
    """
    chats: dict[int, list[Received]] = {}
    for received in waiting:
        chat_id = None if received.attempts else _chat_of(received.update, owner_id)
        if chat_id is None:
            return list(chats.values()) or [[received]]
        chats.setdefault(chat_id, []).append(received)
    return list(chats.values())


def _chat_of(update: dict[str, Any], owner_id: int) -> int | None:
    """The contact's chat that it is about and nothing else; None if there is none."""
    chat: dict[str, Any] = next((update[kind].get("chat", {}) for kind in OF_A_CHAT if kind in update), {})
    return chat["id"] if chat.get("type") == "private" and chat.get("id") != owner_id else None


async def _begin(twin: Twin, received: Received) -> Received | None:
    """Before one that is suspected is handled it is counted: if it ends the process, the next start finds that it did. None: it
    has done so too often."""
    if received.attempts >= ATTEMPTS:
        await _set_aside(twin, received.update_id, "Interrupted")
        return None
    if received.attempts:
        async with twin.store.begin() as connection:
            await inbox.count_failure(connection, received.update_id)
    return received


async def _handle(twin: Twin, bot: Bot, dispatcher: Dispatcher, received: Received, pause: Pause) -> Received | None:
    """Handle one update; returns it again if it has to be repeated."""
    try:
        update = Update.model_validate(received.update, context={"bot": bot})
        await dispatcher.feed_update(bot, update, once=Once(twin.store, received.update_id))
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
    if "business" in received.payload[:HEAD]:
        twin.bells.outbox.set()  # while it was not handled it held back what goes into the same chat
    return None


async def _failed(twin: Twin, received: Received, error: Exception) -> Received | None:
    """The class of the error is logged, never its message, which may quote what somebody wrote."""
    attempt = received.attempts + 1
    log.error("update.failed", update_id=received.update_id, attempt=attempt, error=type(error).__name__, place=place(error))
    if attempt >= ATTEMPTS:
        await _set_aside(twin, received.update_id, type(error).__name__)
        return None
    async with twin.store.begin() as connection:
        await inbox.count_failure(connection, received.update_id)
    await asyncio.sleep(RETRY_SECONDS)
    return replace(received, attempts=attempt)


async def _set_aside(twin: Twin, update_id: int, error: str) -> None:
    async with twin.store.begin() as connection:
        await inbox.set_aside(connection, update_id, error, utc_now())
        line = f"I could not handle something that Telegram sent me (update {update_id}, {error}) and set it aside. The log says where."
        await notices.add(connection, line, utc_now())
    log.error("update.set_aside", update_id=update_id, error=error)
    twin.bells.desk.set()


def place(error: Exception) -> str:
    """Module and line where it arose."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '')}:{trace.tb_lineno}" if trace else ""
