"""How a draft looks in the owner's chat. Text is set by entities, never by markup, so whatever somebody wrote arrives as typed."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from aiogram.filters.callback_data import CallbackData
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup, LinkPreviewOptions
from aiogram.utils.formatting import BlockQuote, Bold, ExpandableBlockQuote, Italic, Strikethrough, Text

from twin.replies import SUPERSEDED, SWITCHED_OFF, TIMED_OUT
from twin.store.drafts import Draft
from twin.store.outbox import Bubble
from twin.turns import Message, split_bubbles
from twin.utf16 import MARK, cut, length

MAX_TEXT = 4096  # UTF-16 units, https://core.telegram.org/bots/api#sendmessage
MAX_NAME = 64
FOLD_ABOVE = 400  # their words are folded when longer, so that the draft stays in sight
NO_PREVIEW = LinkPreviewOptions(is_disabled=True)
ISOLATE, POP = "\u2068", "\u2069"  # keep a right-to-left name from turning its neighbours around


class Tap(CallbackData, prefix="d"):
    """A button of a card. `variant` is the one that the card showed."""

    action: str
    draft_id: int
    variant: int


class DoubtTap(CallbackData, prefix="o"):
    """The owner's word on a bubble of unknown outcome."""

    outbox_id: int
    arrived: bool


@dataclass(frozen=True)
class CardView:
    """All that a card shows. `words` are the contact's messages, `sent` the bubbles of the approved answer."""

    draft: Draft
    name: str
    words: list[Message]
    sent: list[Bubble]
    undoable: bool
    max_variants: int


@dataclass(frozen=True)
class Card:
    text: Text
    keyboard: InlineKeyboardMarkup | None

    def content(self) -> dict[str, Any]:
        """Keyword arguments of sendMessage and editMessageText."""
        return {**self.text.as_kwargs(), "reply_markup": self.keyboard, "link_preview_options": NO_PREVIEW}


def render(view: CardView) -> Card:
    title = Bold(shown_name(view.name))
    label, footer = Bold(_label(view)), Italic(_footer(view))
    answer = _shown_answer(_bubbles(view))
    room = MAX_TEXT - sum(length(part.as_kwargs()["text"]) for part in (title, label, footer)) - 16
    words = [_shown_words(message) for message in view.words]
    answer = cut(answer, room - min(room // 4, length("\n".join(words))))
    quote = newest_words(words, room - length(answer))
    parts: list[Any] = [title]
    if quote:
        parts += ["\n", ExpandableBlockQuote(quote) if length(quote) > FOLD_ABOVE else BlockQuote(quote)]
    parts += ["\n\n" if not quote else "\n", label]
    if answer:
        parts += ["\n", Strikethrough(answer) if view.draft.state in ("rejected", "expired") else answer]
    return Card(Text(*parts, "\n\n", footer), _keyboard(view))


def shown_name(name: str) -> str:
    name = cut(" ".join(name.split()) or "Somebody without a name", MAX_NAME)
    right_to_left = any(unicodedata.bidirectional(char) in ("R", "AL") for char in name)
    return f"{ISOLATE}{name}{POP}" if right_to_left else name


def newest_words(words: list[str], room: int) -> str:
    """As many of the newest messages as fit, a mark for those left out; the newest is cut if even it does not fit."""
    whole = "\n".join(words)
    if length(whole) <= room:
        return whole
    kept = [cut(words[-1], max(0, room - 2))]
    room -= length(kept[0]) + 2
    for line in reversed(words[:-1]):
        room -= length(line) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join([MARK, *reversed(kept)]) if len(kept) < len(words) else kept[0]


def doubt_keyboard(outbox_id: int) -> InlineKeyboardMarkup:
    row = [
        InlineKeyboardButton(text="Send again", callback_data=DoubtTap(outbox_id=outbox_id, arrived=False).pack()),
        InlineKeyboardButton(text="It arrived", callback_data=DoubtTap(outbox_id=outbox_id, arrived=True).pack()),
    ]
    return InlineKeyboardMarkup(inline_keyboard=[row])


def _bubbles(view: CardView) -> list[str]:
    return [bubble.text for bubble in view.sent] or split_bubbles(view.draft.text)


def _label(view: CardView) -> str:
    draft = view.draft
    match draft.state:
        case "pending" if not split_bubbles(draft.text):
            return "No words came."
        case "pending":
            return "Your words, not sent yet:" if draft.author == "owner" else "Draft:"
        case "approved" | "edited" | "sending":
            uncertain = any(bubble.state == "uncertain" for bubble in view.sent)
            return "Perhaps sent: see the question below." if uncertain else "Sending:"
        case "sent":
            return "Sent:"
        case "failed":
            return f"Not sent, {draft.reason}:" if draft.reason else "Not sent:"
        case "rejected":
            return "Skipped:"
        case "expired":
            ends = {
                SUPERSEDED: "Superseded by a newer message:",
                TIMED_OUT: "Expired, nobody decided on it:",
                SWITCHED_OFF: "Withdrawn, this contact is off now:",
            }
            return ends.get(draft.reason or "", "Expired:")


def _footer(view: CardView) -> str:
    draft = view.draft
    parts = [f"Draft {draft.id}"]
    if draft.author == "twin":
        parts.append(f"adapter {draft.adapter}" if draft.adapter else "base model")
        if draft.variant > 1:
            parts.append(f"variant {draft.variant} of {view.max_variants}")
    if draft.state == "pending" and not split_bubbles(draft.text) and draft.reason:
        parts.append(draft.reason)
    if draft.state == "pending" and draft.another_due_at:
        parts.append("writing another …")
    if view.sent and draft.state in ("sending", "failed"):
        done = sum(bubble.state == "sent" for bubble in view.sent)
        parts.append(f"{done} of {len(view.sent)} delivered")
    return " · ".join(parts)


def _keyboard(view: CardView) -> InlineKeyboardMarkup | None:
    draft = view.draft
    if draft.state == "rejected" and view.undoable:
        return InlineKeyboardMarkup(inline_keyboard=[[_button("Undo", "undo", draft)]])
    if draft.state != "pending":
        return None
    top = [_button("Send", "send", draft, style="primary")] if split_bubbles(draft.text) else []
    top.append(_button("Edit", "edit", draft))
    more = draft.variant < view.max_variants and not draft.another_due_at
    bottom = [_button("Another", "another", draft)] if more else []
    bottom.append(_button("Skip", "skip", draft))
    return InlineKeyboardMarkup(inline_keyboard=[top, bottom])


def _button(text: str, action: str, draft: Draft, style: str | None = None) -> InlineKeyboardButton:
    data = Tap(action=action, draft_id=draft.id, variant=draft.variant).pack()
    return InlineKeyboardButton(text=text, callback_data=data, style=style)


def _shown_words(message: Message) -> str:
    return message.text if message.kind == "text" else f"[{message.kind}] {message.text}".strip()


def _shown_answer(bubbles: list[str]) -> str:
    """A dot before each bubble if there are several: on a phone long lines wrap, and one could not tell."""
    dot = "• " if len(bubbles) > 1 else ""
    return "\n".join(dot + bubble.replace("\n", "\n    ") for bubble in bubbles)
