"""The menu of /mode: pages of contacts, one contact with what each mode means and how it does, and the default for everyone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiogram.filters.callback_data import CallbackData
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup
from aiogram.utils.formatting import Bold, Italic, Text

from bot.cards import shown_name
from twin.contacts import labels
from twin.modes import MODES, Figures
from twin.store.dialogs import Dialog, Mode
from twin.utf16 import cut

PAGE = 8
DEFAULT = "default"
MEANINGS = {
    "off": "messages are kept, nothing is drafted.",
    "shadow": "drafts are never shown, only compared with what you then write.",
    "approve": "every draft waits for your tap.",
    "auto": "answers go by themselves, unless something speaks against it.",
}


class ModeTap(CallbackData, prefix="m"):
    """`show` a page of contacts (dialog_id 0) or one contact; `set` the mode of one; `default`: show the one for everyone, `ask` before
    it is changed, `sure`: change it."""

    action: str
    dialog_id: int = 0
    page: int = 0
    mode: str = ""


def contacts(known: Sequence[Dialog], default: Mode, page: int) -> tuple[Text, InlineKeyboardMarkup]:
    everyone_else = [_button(f"Everyone else · {default}", action="default")]
    if not known:
        return Text("Nobody has written yet."), InlineKeyboardMarkup(inline_keyboard=[everyone_else])
    pages = (len(known) + PAGE - 1) // PAGE
    page = min(max(page, 0), pages - 1)
    names = labels(known, limit=48)
    rows = [
        [_button(_named(names[d.dialog_id], d.mode or default), action="show", dialog_id=d.dialog_id, page=page)]
        for d in known[page * PAGE : (page + 1) * PAGE]
    ]
    rows.append(everyone_else)
    turning = [_button("‹ Back", action="show", page=page - 1)] if page else []
    turning += [_button("More ›", action="show", page=page + 1)] if page < pages - 1 else []
    text = Text(Bold("How contacts are answered"), "\nTap one to change it.")
    return text, InlineKeyboardMarkup(inline_keyboard=[*rows, turning] if turning else rows)


def one(dialog: Dialog, default: Mode, figures: Figures, page: int, *, name: str | None = None) -> tuple[Text, InlineKeyboardMarkup]:
    """`name`: what tells this contact from another one of the same name."""
    current = dialog.mode or DEFAULT

    def choice(mode: str, name: str) -> InlineKeyboardButton:
        mark = "✓ " if mode == current else ""
        return _button(mark + name, action="set", dialog_id=dialog.dialog_id, mode=mode, page=page)

    off, shadow, approve, auto = (choice(mode, mode.capitalize()) for mode in MODES)
    rows = [
        [off, shadow],
        [approve, auto],
        [choice(DEFAULT, f"Default ({default})")],
        [_button("‹ All contacts", action="show", page=page)],
    ]
    told = told_figures(figures)
    parts: list[Any] = [
        Bold(shown_name(dialog.name if name is None else name)),
        "\n",
        *_meanings(),
        *(["\n", Italic(told)] if told else []),
    ]
    return Text(*parts), InlineKeyboardMarkup(inline_keyboard=rows)


def everyone(default: Mode) -> tuple[Text, InlineKeyboardMarkup]:
    off, shadow, approve, auto = (
        _button(f"✓ {mode.capitalize()}" if mode == default else mode.capitalize(), action="ask", mode=mode) for mode in MODES
    )
    text = Text(Bold("Everyone for whom nothing is set"), "\n", *_meanings())
    return text, InlineKeyboardMarkup(inline_keyboard=[[off, shadow], [approve, auto], [_button("‹ All contacts", action="show")]])


def ask_default(mode: Mode) -> tuple[Text, InlineKeyboardMarkup]:
    """Asked once before it changes for everybody, strangers included."""
    text = Text(Bold(f"{mode.capitalize()} for everyone?"), f"\n{mode.capitalize()}: {MEANINGS[mode]}\nStrangers are included.")
    yes = _button(f"Yes, {mode} for everyone", action="sure", mode=mode)
    return text, InlineKeyboardMarkup(inline_keyboard=[[yes], [_button("No", action="default")]])


def told_figures(figures: Figures) -> str:
    lines = []
    if figures.comparisons and figures.likeness is not None:
        times = f"{figures.comparisons} time{'s' if figures.comparisons != 1 else ''}"
        lines.append(f"Compared with what you wrote {times}: {figures.likeness:.0%} alike on average.")
    if figures.automatic:
        lines.append(f"Answered by itself in 7 days: {figures.automatic}.")
    return "\n".join(lines)


def _meanings() -> list[Any]:
    return [part for mode, meaning in MEANINGS.items() for part in (Bold(mode.capitalize()), f": {meaning}\n")]


def _named(name: str, mode: str) -> str:
    """The mode stays in sight however long the name is."""
    return f"{shown_name(name)} · {mode}"


def _button(text: str, **tap: Any) -> InlineKeyboardButton:
    return InlineKeyboardButton(text=cut(text, 60), callback_data=ModeTap(**tap).pack())
