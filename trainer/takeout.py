"""The first import through Telegram's data export ("takeout"), where the account allows it: Telegram floods it less.

Telegram may ask for a day first, so that the owner can object on another device (TAKEOUT_INIT_DELAY_86400). That day is kept
over restarts, and nobody waits for it: the collecting goes on the plain way, and the export is begun after the day only if
much of the first import is still missing. An export is kept open over restarts too, and finished when the import is through.
https://core.telegram.org/api/takeout
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncEngine

from trainer.flood_waits import FloodWaits, in_words
from trainer.telethon_calls import RefusedError, call
from twin.settings import Settings
from twin.store import facts, notices

if TYPE_CHECKING:
    from telethon import TelegramClient

EXPORT = "collect.takeout"  # the fact: {"id"} of an open export, {"until": unix seconds} of the delay, {"refused": the error's name}
FIRST_IMPORT = "collect.first_import"  # the fact: {"done_at": unix seconds}
LARGE = 3000  # messages: 30 requests, about where Telegram begins to flood the plain way

NOTICE = (
    "Telegram wants {wait} before it lets me read your old chats through a data export, and has asked you about it in your other "
    "devices. Until {at} I read them the slow way; if you allow the export there, the next run uses it after that time."
)


async def is_wanted(store: AsyncEngine, settings: Settings, behind: Iterable[int]) -> bool:
    """`behind`: of each dialog, how far its newest id is above its watermark.

    All private chats of an account share one sequence of ids, so this bounds from above how many messages are missing.
    """
    if not settings.collect.takeout or max(behind, default=0) < LARGE:
        return False
    async with store.connect() as connection:
        return await facts.get(connection, FIRST_IMPORT) is None


async def begin(store: AsyncEngine, client: TelegramClient, settings: Settings, waits: FloodWaits) -> TelegramClient | None:
    """The client of an export, the open one or a new one; None where Telegram does not allow it, or not yet."""
    from telethon import errors

    async with store.connect() as connection:
        kept: dict[str, Any] = await facts.get(connection, EXPORT) or {}
    if "refused" in kept or kept.get("until", 0) > time.time():
        return None
    if "id" in kept:
        client.session.takeout_id = kept["id"]
        return await call(client.takeout(finalize=False).__aenter__(), settings)
    client.session.takeout_id = None
    try:
        export = await waits.patiently(lambda: call(client.takeout(finalize=False, users=True).__aenter__(), settings))
    except RefusedError as exc:
        if isinstance(exc.__cause__, errors.TakeoutInitDelayError):
            await _keep_delay(store, exc.__cause__.seconds)
        elif not isinstance(exc.__cause__, errors.ServerError | errors.TimedOutError):  # those are for now, the others for good
            await _put(store, {"refused": type(exc.__cause__).__name__.removesuffix("Error")})
        return None
    await _put(store, {"id": client.session.takeout_id})
    return export


def is_over(error: RefusedError) -> bool:
    """Whether Telegram no longer knows the export that a request was part of."""
    from telethon import errors

    return isinstance(error.__cause__, errors.TakeoutInvalidError | errors.TakeoutRequiredError)


async def forget(store: AsyncEngine, client: TelegramClient) -> None:
    """The open export is over before its time: the rest is read the plain way, and the next run may begin another."""
    client.session.takeout_id = None
    async with store.begin() as connection:
        await facts.forget(connection, EXPORT)


async def finish(store: AsyncEngine, client: TelegramClient, settings: Settings, waits: FloodWaits) -> None:
    """Every dialog was read: close the export that is open and note that the first import is done."""
    async with store.connect() as connection:
        if await facts.get(connection, FIRST_IMPORT):
            return
        kept: dict[str, Any] = await facts.get(connection, EXPORT) or {}
    if "id" in kept:
        client.session.takeout_id = kept["id"]
        try:
            await waits.patiently(lambda: call(client.end_takeout(success=True), settings))
        except RefusedError as exc:
            if not is_over(exc):  # what Telegram has closed by itself needs no closing
                raise
    client.session.takeout_id = None
    async with store.begin() as connection:
        await facts.forget(connection, EXPORT)
        await facts.put(connection, FIRST_IMPORT, {"done_at": time.time()})


async def delayed_until(store: AsyncEngine) -> datetime | None:
    """When an export may begin, while Telegram makes it wait."""
    async with store.connect() as connection:
        kept = await facts.get(connection, EXPORT) or {}
    return datetime.fromtimestamp(kept["until"], UTC) if kept.get("until", 0) > time.time() else None


async def _keep_delay(store: AsyncEngine, seconds: int) -> None:
    until = time.time() + seconds
    at = datetime.fromtimestamp(until).astimezone()
    async with store.begin() as connection:
        first = await facts.get(connection, EXPORT) is None
        await facts.put(connection, EXPORT, {"until": until})
        if first:  # a second delay is shown by `twin collect`, and no news
            await notices.add(connection, NOTICE.format(wait=in_words(seconds), at=f"{at:%Y-%m-%d %H:%M}"), datetime.now(UTC))


async def _put(store: AsyncEngine, value: dict[str, Any]) -> None:
    async with store.begin() as connection:
        await facts.put(connection, EXPORT, value)
