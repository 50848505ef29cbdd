"""The buttons under a card and what their taps carry: at most 64 bytes, https://core.telegram.org/bots/api#inlinekeyboardbutton."""

from __future__ import annotations

from aiogram.filters.callback_data import CallbackData
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup

from twin.store.drafts import Draft
from twin.store.outbox import Bubble

Row = list[InlineKeyboardButton]


class Tap(CallbackData, prefix="d"):
    """A button of a card. `variant` is the one that the card showed."""

    action: str
    draft_id: int
    variant: int


class DoubtTap(CallbackData, prefix="o"):
    """The owner's word on a bubble of unknown outcome. `tried`: the try that was asked about (`Bubble.try_number`)."""

    outbox_id: int
    tried: int
    arrived: bool


class SilenceTap(CallbackData, prefix="s"):
    """Everything: silent, or not any more."""

    begin: bool


def pending(draft: Draft, *, has_words: bool, rests: bool, more: bool, may_trust: bool, is_silent: bool) -> InlineKeyboardMarkup:
    """`rests`: it proposes no answer. `more`: another variant may be asked for. `may_trust`: its contact is not on auto yet."""
    rows: list[Row] = []
    if rests:
        rows.append([_tap("Leave it", "skip", draft, style="primary"), *([_tap("Write anyway", "another", draft)] if more else [])])
        rows.append([_tap("Edit", "edit", draft)])
    else:
        rows.append([*([_tap("Send", "send", draft, style="primary")] if has_words else []), _tap("Edit", "edit", draft)])
        rows[0].append(_tap("Skip", "skip", draft))
        if more:
            wishes = ("Another", "Shorter", "Warmer") if has_words else ("Another",)
            rows.append([_tap(wish, wish.lower(), draft) for wish in wishes])
        if has_words and may_trust:
            rows.append([_tap("Auto from now on", "auto", draft)])
    return InlineKeyboardMarkup(inline_keyboard=[*rows, *([[silence(begin=False)]] if is_silent else [])])


def sure(draft: Draft) -> InlineKeyboardMarkup:
    """Asked once before answers go by themselves."""
    return InlineKeyboardMarkup(inline_keyboard=[[_tap("Yes, auto", "trust", draft), _tap("No", "no", draft)]])


def skipped(draft: Draft) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup(inline_keyboard=[[_tap("Undo", "undo", draft)]])


def automatic(draft: Draft, *, may_undo: bool, is_auto: bool, is_silent: bool) -> InlineKeyboardMarkup | None:
    """Under an automatic answer. `is_auto`: its contact still is on auto."""
    rows = [[_tap("Undo", "back", draft, style="danger")]] if may_undo else []
    if is_auto:
        rows.append([_tap("Stop auto here", "stop", draft), silence(begin=not is_silent)])
    return InlineKeyboardMarkup(inline_keyboard=rows) if rows else None


def doubt_keyboard(bubble: Bubble) -> InlineKeyboardMarkup:
    row = [
        InlineKeyboardButton(text=text, callback_data=DoubtTap(outbox_id=bubble.id, tried=bubble.try_number, arrived=arrived).pack())
        for text, arrived in (("Send again", False), ("It arrived", True))
    ]
    return InlineKeyboardMarkup(inline_keyboard=[row])


def silence(*, begin: bool) -> InlineKeyboardButton:
    return InlineKeyboardButton(text="Pause all" if begin else "Resume", callback_data=SilenceTap(begin=begin).pack())


def silence_keyboard(*, begin: bool) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup(inline_keyboard=[[silence(begin=begin)]])


def _tap(text: str, action: str, draft: Draft, style: str | None = None) -> InlineKeyboardButton:
    data = Tap(action=action, draft_id=draft.id, variant=draft.variant).pack()
    return InlineKeyboardButton(text=text, callback_data=data, style=style)
