"""/mode: how each contact is answered, and everyone for whom nothing is set. A keyboard, or one line: /mode @name auto."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

import structlog
from aiogram import Bot, F, Router
from aiogram.filters import Command, CommandObject
from aiogram.types import CallbackQuery, InlineKeyboardMarkup, Message
from aiogram.utils.formatting import Text
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import mode_menu
from bot.cards import shown_name
from bot.context import Twin, utc_now
from bot.mode_menu import DEFAULT, ModeTap
from bot.once import Once
from bot.telegram import quietly
from twin import modes, replies
from twin.contacts import is_whole, label, matching, told_apart
from twin.modes import MODES
from twin.store import dialogs, messages
from twin.store.dialogs import Dialog, Mode

log = structlog.get_logger()
NEVER = datetime.min.replace(tzinfo=UTC)
USAGE = (
    "Write /mode for a list, or /mode @name auto; off, shadow, approve and default do as well. "
    "An id does as well as a name; /mode default approve is for everyone else."
)


async def on_mode(message: Message, command: CommandObject, twin: Twin, once: Once) -> None:
    words = (command.args or "").split()
    if not words:
        text, keyboard = await _list(twin, 0)
        await message.answer(**text.as_kwargs(), reply_markup=keyboard)
        return
    mode, who = words[-1].lower(), " ".join(words[:-1])
    if not who or mode not in (*MODES, DEFAULT) or (who.lower() == DEFAULT and mode == DEFAULT):
        await message.answer(USAGE)
    elif who.lower() == DEFAULT:
        text, keyboard = mode_menu.ask_default(cast(Mode, mode))
        await message.answer(**text.as_kwargs(), reply_markup=keyboard)
    else:
        answer = await once.effect(lambda connection: _set_named(connection, twin, who, mode))
        twin.bells.ring()
        await message.answer(answer)


async def on_mode_tap(callback: CallbackQuery, callback_data: ModeTap, bot: Bot, twin: Twin, once: Once) -> None:
    """A menu of more than two days comes without its text (InaccessibleMessage): a new one takes its place."""
    tap = callback_data
    async with twin.store.connect() as connection:
        contact = next((d for d in await _contacts(connection, twin) if d.dialog_id == tap.dialog_id), None)
    if tap.action == "set" and contact and tap.mode in (*MODES, DEFAULT):
        await once.effect(lambda connection: _set(connection, twin, contact.dialog_id, tap.mode))
    if tap.action == "sure" and tap.mode in MODES:
        await once.effect(lambda connection: _set_default(connection, cast(Mode, tap.mode)))
    twin.bells.ring()
    text, keyboard = await _page(twin, tap, contact)
    await quietly(callback.answer(), "tap.unanswered")
    if isinstance(callback.message, Message):
        await quietly(callback.message.edit_text(**text.as_kwargs(), reply_markup=keyboard), "modes.not_shown")
    else:
        await bot.send_message(twin.owner_id, **text.as_kwargs(), reply_markup=keyboard)


async def _page(twin: Twin, tap: ModeTap, contact: Dialog | None) -> tuple[Text, InlineKeyboardMarkup | None]:
    """What the menu shows after a tap."""
    if tap.action == "ask" and tap.mode in MODES:
        return mode_menu.ask_default(tap.mode)
    async with twin.store.connect() as connection:
        default = await modes.default(connection, twin.settings)
        if tap.action in ("default", "sure"):
            return mode_menu.everyone(default)
        if contact:
            fresh = await dialogs.get(connection, contact.dialog_id)
            figures = await modes.figures(connection, contact.dialog_id, utc_now())
            return mode_menu.one(fresh or contact, default, figures, tap.page, name=await label(connection, contact.dialog_id))
    return await _list(twin, tap.page)


async def _list(twin: Twin, page: int) -> tuple[Text, InlineKeyboardMarkup | None]:
    async with twin.store.connect() as connection:
        contacts = await _contacts(connection, twin)
        return mode_menu.contacts(contacts, await modes.default(connection, twin.settings), page)


async def _set_named(connection: AsyncConnection, twin: Twin, who: str, mode: str) -> str:
    """Set the mode of the contact who is meant; returns what to tell the owner."""
    found = matching(await _contacts(connection, twin), who, await dialogs.strangers(connection))
    if not found:
        return "I know no such contact. /mode lists them."
    if len(found) > 1:
        return f"Several contacts have this name; use the id. Which of them: {told_apart(found)}? Nothing was changed."
    if mode == "auto" and not is_whole(found[0], who):  # part of a name may be another person's
        return f"Do you mean {told_apart(found)}? For auto write the whole name, or the id. Nothing was changed."
    await _set(connection, twin, found[0].dialog_id, mode)
    return f"{shown_name(found[0].name)}: {mode}."


async def _set(connection: AsyncConnection, twin: Twin, dialog_id: int, mode: str) -> None:
    chosen = None if mode == DEFAULT else cast(Mode, mode)
    await replies.set_mode(connection, dialog_id, chosen, twin.settings, utc_now())
    log.info("mode.set", dialog_id=dialog_id, mode=mode)


async def _set_default(connection: AsyncConnection, mode: Mode) -> None:
    await replies.set_default_mode(connection, mode, utc_now())
    log.info("mode.default_set", mode=mode)


async def _contacts(connection: AsyncConnection, twin: Twin) -> list[Dialog]:
    """Who wrote last comes first, then those who never wrote, by name."""
    known = [d for d in await dialogs.find(connection) if d.dialog_id != twin.owner_id and not d.excluded]
    wrote = await messages.last_written(connection)
    return sorted(known, key=lambda d: wrote.get(d.dialog_id, NEVER), reverse=True)


def setup() -> Router:
    router = Router(name="modes")
    router.message.register(on_mode, Command("mode"), ~F.forward_origin, ~F.via_bot)
    router.callback_query.register(on_mode_tap, ModeTap.filter())
    return router
