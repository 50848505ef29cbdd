"""/mode: who gets drafts. A keyboard of contacts, or one line: /mode @name off."""

from __future__ import annotations

from typing import Any, cast

import structlog
from aiogram import F, Router
from aiogram.filters import Command, CommandObject
from aiogram.filters.callback_data import CallbackData
from aiogram.types import CallbackQuery, InlineKeyboardButton, InlineKeyboardMarkup, Message
from aiogram.utils.formatting import Bold, Text

from bot.cards import shown_name
from bot.context import Twin, utc_now
from bot.telegram import quietly
from twin import replies
from twin.store import dialogs
from twin.store.dialogs import Dialog, Mode
from twin.utf16 import cut

log = structlog.get_logger()
PAGE = 8
NOW = ("off", "approve")
LATER = ("shadow", "auto")
DEFAULT = "default"
USAGE = "Write /mode for a list, or /mode @name off, /mode @name approve, /mode @name default. An id does as well as a name."


class ModeTap(CallbackData, prefix="m"):
    """`show` a page of contacts (dialog_id 0) or one contact; `set` the mode of one."""

    action: str
    dialog_id: int = 0
    page: int = 0
    mode: str = ""


async def on_mode(message: Message, command: CommandObject, twin: Twin) -> None:
    words = (command.args or "").split()
    if not words:
        text, keyboard = await _list(twin, 0)
        await message.answer(**text.as_kwargs(), reply_markup=keyboard)
        return
    mode = words[-1].lower()
    if len(words) < 2 or mode not in (*NOW, *LATER, DEFAULT):
        await message.answer(USAGE)
    elif mode in LATER:
        await message.answer(f"The mode {mode} comes with a later version; off and approve work now.")
    else:
        found = _find(await _contacts(twin), " ".join(words[:-1]))
        if len(found) != 1:
            await message.answer("Several contacts have this name; use the id." if found else "I know no such contact. /mode lists them.")
        else:
            await _set(twin, found[0].dialog_id, mode)
            await message.answer(f"{found[0].name or found[0].dialog_id}: {mode}.")


async def on_mode_tap(callback: CallbackQuery, callback_data: ModeTap, twin: Twin) -> None:
    if callback_data.action == "set" and callback_data.mode in (*NOW, DEFAULT):
        await _set(twin, callback_data.dialog_id, callback_data.mode)
    shown = next((d for d in await _contacts(twin) if d.dialog_id == callback_data.dialog_id), None)
    text, keyboard = _one(shown, twin, callback_data.page) if shown else await _list(twin, callback_data.page)
    await quietly(callback.answer(), "tap.unanswered")
    if isinstance(callback.message, Message):
        await quietly(callback.message.edit_text(**text.as_kwargs(), reply_markup=keyboard), "modes.not_shown")


async def _set(twin: Twin, dialog_id: int, mode: str) -> None:
    chosen = None if mode == DEFAULT else cast(Mode, mode)
    async with twin.store.begin() as connection:
        await replies.set_mode(connection, dialog_id, chosen, twin.settings, utc_now())
    log.info("mode.set", dialog_id=dialog_id, mode=mode)
    twin.bells.ring()


async def _contacts(twin: Twin) -> list[Dialog]:
    async with twin.store.connect() as connection:
        return [d for d in await dialogs.find(connection) if d.dialog_id != twin.owner_id and not d.excluded]


def _find(contacts: list[Dialog], wanted: str) -> list[Dialog]:
    """By @username, by id, or by the whole name."""
    if wanted.startswith("@"):
        return [d for d in contacts if d.username and d.username.lower() == wanted[1:].lower()]
    if wanted.isdecimal():
        return [d for d in contacts if d.dialog_id == int(wanted)]
    return [d for d in contacts if d.name.casefold() == wanted.casefold()]


async def _list(twin: Twin, page: int) -> tuple[Text, InlineKeyboardMarkup | None]:
    contacts = await _contacts(twin)
    if not contacts:
        return Text("Nobody has written yet."), None
    pages = (len(contacts) + PAGE - 1) // PAGE
    page = min(max(page, 0), pages - 1)
    rows = [
        [_button(f"{shown_name(d.name)} · {_mode(d, twin)}", action="show", dialog_id=d.dialog_id, page=page)]
        for d in contacts[page * PAGE : (page + 1) * PAGE]
    ]
    turning = [_button("‹ Back", action="show", page=page - 1)] if page else []
    turning += [_button("More ›", action="show", page=page + 1)] if page < pages - 1 else []
    return Text(Bold("Who gets drafts"), "\nTap a contact to change it."), InlineKeyboardMarkup(
        inline_keyboard=[*rows, turning] if turning else rows
    )


def _one(dialog: Dialog, twin: Twin, page: int) -> tuple[Text, InlineKeyboardMarkup]:
    current = dialog.mode or DEFAULT
    names = {"off": "Off", "approve": "Approve", DEFAULT: f"Default ({twin.settings.bot.default_mode})"}
    row = [
        _button(f"✓ {name}" if mode == current else name, action="set", dialog_id=dialog.dialog_id, mode=mode, page=page)
        for mode, name in names.items()
    ]
    text = Text(Bold(shown_name(dialog.name)), "\nOff: no drafts. Approve: every answer waits for your tap.")
    return text, InlineKeyboardMarkup(inline_keyboard=[row, [_button("‹ All contacts", action="show", page=page)]])


def _mode(dialog: Dialog, twin: Twin) -> str:
    return dialog.mode or twin.settings.bot.default_mode


def _button(text: str, **tap: Any) -> InlineKeyboardButton:
    return InlineKeyboardButton(text=cut(text, 60), callback_data=ModeTap(**tap).pack())


def setup() -> Router:
    router = Router(name="modes")
    router.message.register(on_mode, Command("mode"), ~F.forward_origin)
    router.callback_query.register(on_mode_tap, ModeTap.filter())
    return router
