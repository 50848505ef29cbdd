"""/pause and /resume, also as buttons: everything at once; and /digest."""

from __future__ import annotations

import structlog
from aiogram import F, Router
from aiogram.filters import Command
from aiogram.types import CallbackQuery, Message

from bot.buttons import SilenceTap, silence_keyboard
from bot.context import Twin, utc_now
from bot.digest_text import digest_text
from bot.once import Once
from bot.schedule import local_zone
from bot.telegram import quietly
from twin import digest, silence

log = structlog.get_logger()
BEGUN = "All is paused: nothing goes out, and nothing is drafted. Messages are kept. /resume goes on."
PAUSED_ALREADY = "All is paused already. /resume goes on."
ENDED = "Going on. What you approved meanwhile goes out now."


async def on_pause(message: Message, twin: Twin, once: Once) -> None:
    begun = await _set(twin, once, begin=True)
    await message.answer(BEGUN if begun else PAUSED_ALREADY, reply_markup=silence_keyboard(begin=False))


async def on_resume(message: Message, twin: Twin, once: Once) -> None:
    ended = await _set(twin, once, begin=False)
    await message.answer(ENDED if ended else "Nothing is paused.")


async def on_silence_tap(callback: CallbackQuery, callback_data: SilenceTap, twin: Twin, once: Once) -> None:
    """Where the button is the only one it turns into its opposite; on a card the desk sees to that."""
    await _set(twin, once, begin=callback_data.begin)
    await quietly(callback.answer("All is paused" if callback_data.begin else "Going on"), "tap.unanswered")
    message = callback.message
    if not isinstance(message, Message) or not message.reply_markup or sum(map(len, message.reply_markup.inline_keyboard)) > 1:
        return
    if message.text in (BEGUN, PAUSED_ALREADY):
        await quietly(message.edit_text(ENDED), "silence.not_shown")
    else:
        await quietly(message.edit_reply_markup(reply_markup=silence_keyboard(begin=not callback_data.begin)), "keyboard.kept")


async def on_digest(message: Message, twin: Twin) -> None:
    now = utc_now()
    async with twin.store.connect() as connection:
        found = await digest.read(connection, owner_id=twin.owner_id, now=now)
        silent_since = await silence.since(connection)
    await message.answer(**digest_text(found, silent_since=silent_since, now=now, zone=local_zone()).as_kwargs())


async def _set(twin: Twin, once: Once, *, begin: bool) -> bool:
    """False if it was so already."""
    changed = await once.effect(lambda connection: silence.begin(connection, utc_now()) if begin else silence.end(connection))
    log.info("silence.begun" if begin else "silence.ended", changed=changed)
    twin.bells.ring()
    return changed


def setup() -> Router:
    router = Router(name="silence")
    router.message.filter(~F.forward_origin, ~F.via_bot)
    for name, handler in (("pause", on_pause), ("resume", on_resume), ("digest", on_digest)):
        router.message.register(handler, Command(name))
    router.callback_query.register(on_silence_tap, SilenceTap.filter())
    return router
