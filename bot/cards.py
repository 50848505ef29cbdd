"""How a draft looks in the owner's chat. Text is set by entities, never by markup, so whatever somebody wrote arrives as typed.

Ada Lovelace · in your chat
▏ what the contact wrote, folded when long
why it was held back, if it was
Draft:
the answer
▏ what the owner said before to something like it, folded
Draft 12 · adapter ada-3 · variant 2 of 3
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiogram.types import InlineKeyboardMarkup, LinkPreviewOptions
from aiogram.utils.formatting import BlockQuote, Bold, ExpandableBlockQuote, Italic, Strikethrough, Text

from bot import buttons
from twin.caution import describe
from twin.drafting import MAX_DRAFT
from twin.names import NO_NAME, clean_name
from twin.nearest import PastReply
from twin.replies import SUPERSEDED, SWITCHED_OFF, TIMED_OUT
from twin.sending import KEPT, TAKEN_BACK
from twin.store.drafts import Draft
from twin.store.outbox import Bubble
from twin.turns import Message, split_bubbles
from twin.utf16 import MARK, cut, length

MAX_TEXT = 4096  # UTF-16 units, https://core.telegram.org/bots/api#sendmessage
TAKEN_OVER = "taken over"  # the owner wrote in the chat himself
MAX_NAME = 64
MAX_PAST = 120  # of each side of a past reply
MAX_REASON = 300
FOLD_ABOVE = 400  # their words are folded when longer, so that the draft stays in sight
NO_PREVIEW = LinkPreviewOptions(is_disabled=True)
ISOLATE, POP = "\u2068", "\u2069"  # keep a right-to-left name from turning its neighbours around
WAYS = {"account": "in your chat", "bot": "to the bot"}
WRITING = {"another": "writing another …", "shorter": "writing a shorter one …", "warmer": "writing a warmer one …"}


@dataclass(frozen=True)
class CardView:
    """All that a card shows. `words` are the contact's messages, `sent` the bubbles of the approved answer, `past` what the owner said
    before to something like it. `is_auto`: its contact is on auto now."""

    draft: Draft
    name: str
    words: list[Message]
    sent: list[Bubble]
    undoable: bool
    max_variants: int
    past: Sequence[PastReply] = ()
    is_auto: bool = False
    silent_since: datetime | None = None


@dataclass(frozen=True)
class Card:
    text: Text
    keyboard: InlineKeyboardMarkup | None

    def content(self) -> dict[str, Any]:
        """Keyword arguments of sendMessage and editMessageText."""
        return {**self.text.as_kwargs(), "reply_markup": self.keyboard, "link_preview_options": NO_PREVIEW}


def render(view: CardView) -> Card:
    """The answer is shown whole; their words are cut for it, and the past replies for both."""
    name, way = Bold(shown_name(view.name)), f" · {WAYS.get(view.draft.channel, view.draft.channel)}"
    label, footer, held = Bold(_label(view)), Italic(_footer(view)), _held_back(view)
    answer = _shown_answer(_bubbles(view))
    room = MAX_TEXT - sum(length(_plain(part)) for part in (name, way, label, footer, held)) - 24
    words = [_shown_words(message) for message in view.words]
    answer = cut(answer, max(room - min(room // 4, length("\n".join(words))), min(room, MAX_DRAFT)))
    quote = newest_words(words, room - length(answer))
    evidence = _evidence(view, room - length(answer) - length(quote))
    parts: list[Any] = [name, way]
    if quote:
        parts += ["\n", ExpandableBlockQuote(quote) if length(quote) > FOLD_ABOVE else BlockQuote(quote)]
    parts += ["\n\n" if not quote else "\n", *([held, "\n"] if held else []), label]
    if answer:
        parts += ["\n", Strikethrough(answer) if view.draft.state in ("rejected", "expired") else answer]
    parts += ["\n\n", *([ExpandableBlockQuote(evidence), "\n"] if evidence else []), footer]
    return Card(Text(*parts), _keyboard(view))


def shown_name(name: str) -> str:
    name = cut(clean_name(name) or NO_NAME, MAX_NAME)
    return f"{ISOLATE}{name}{POP}" if is_right_to_left(name) else name


def is_right_to_left(text: str) -> bool:
    return any(unicodedata.bidirectional(char) in ("R", "AL") for char in text)


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


def _bubbles(view: CardView) -> list[str]:
    """What goes or went; of a draft that waits, what is proposed, whatever was cancelled before."""
    if view.sent and view.draft.state != "pending":
        return [bubble.text for bubble in view.sent]
    return split_bubbles(view.draft.text)


def _rests(draft: Draft) -> bool:
    return draft.intent == "rest" and not split_bubbles(draft.text)


def _label(view: CardView) -> str:
    draft = view.draft
    match draft.state:
        case "pending" if _rests(draft):
            return f"No answer: {cut(draft.reason, MAX_REASON)}" if draft.reason else "No answer to this."
        case "pending" if not split_bubbles(draft.text):
            return "No words came."
        case "pending":
            return "Your words, not sent yet:" if draft.author == "owner" else "Draft:"
        case "approved" | "edited" | "sending":
            if any(bubble.state == "uncertain" for bubble in view.sent):
                return "Perhaps sent: see the question below."
            if view.silent_since:
                return "Goes when you resume:"
            return "Answering by itself:" if draft.is_automatic else "Sending:"
        case "sent" if draft.reason == KEPT:
            return "Sent, and could not be taken back:"
        case "sent":
            return "Answered by itself:" if draft.is_automatic else "Sent:"
        case "failed":
            return f"Not sent, {cut(draft.reason, MAX_REASON)}:" if draft.reason else "Not sent:"
        case "rejected":
            return "Left without an answer." if _rests(draft) else "Skipped:"
        case "expired" if draft.reason == TAKEN_BACK:
            return _undone(view.sent)
        case "expired":
            ends = {
                SUPERSEDED: "Superseded by a newer message:",
                TIMED_OUT: "Expired, nobody decided on it:",
                SWITCHED_OFF: "Withdrawn, the mode was changed:",
                TAKEN_OVER: "Withdrawn, you wrote yourself:",
            }
            return ends.get(draft.reason or "", f"Withdrawn, {cut(draft.reason, MAX_REASON)}:" if draft.reason else "Expired:")


def _undone(bubbles: Sequence[Bubble]) -> str:
    states = {bubble.state for bubble in bubbles}
    if states & {"retracting", "sending", "unheard"}:
        return "Taking it back:"
    return "Perhaps not all of it is taken back:" if states & {"sent", "uncertain"} else "Taken back:"


def _held_back(view: CardView) -> str:
    """Why the owner is asked although this contact is on auto."""
    if view.draft.state != "pending" or not view.draft.flags:
        return ""
    return f"Held back: {cut('; '.join(map(describe, view.draft.flags)), MAX_REASON)}."


def _footer(view: CardView) -> str:
    draft = view.draft
    parts = [f"Draft {draft.id}"]
    if draft.author == "twin" and not _rests(draft):
        parts.append(f"adapter {draft.adapter}" if draft.adapter else "base model")
        if draft.variant > 1:
            parts.append(f"variant {draft.variant} of {max(view.max_variants, draft.variant)}")
    if draft.state == "pending" and draft.another_due_at:
        parts.append(WRITING[draft.wish or "another"])
    elif draft.state == "pending" and draft.reason and draft.reason not in _label(view):
        parts.append(cut(draft.reason, MAX_REASON))
    if draft.state == "pending" and view.silent_since:
        parts.append("all is paused")
    done = sum(bubble.state in ("sent", "retracting") for bubble in view.sent)
    if view.sent and (draft.state in ("sending", "failed") or (draft.state == "expired" and done and draft.reason != TAKEN_BACK)):
        parts.append(f"{done} of {len(view.sent)} delivered")
    return " · ".join(parts)


def _evidence(view: CardView, room: int) -> str:
    """What the owner really said before to something like it: why the draft looks as it does."""
    lines: list[str] = []
    if view.draft.state == "pending" and view.draft.author == "twin":
        for past in view.past:
            lines.append(f"{past.at:%d %b %Y}: {_line(past.asked)}")
            lines.append(f"You: {_line(past.replied)}")
    evidence = "\n".join(["You wrote before:", *lines]) if lines else ""
    return evidence if length(evidence) <= room else ""


def _line(text: str) -> str:
    line = cut(" / ".join(" ".join(part.split()) for part in text.split("\n") if part.strip()), MAX_PAST)
    return f"{ISOLATE}{line}{POP}" if is_right_to_left(line) else line


def _keyboard(view: CardView) -> InlineKeyboardMarkup | None:
    draft = view.draft
    if draft.state == "pending":
        return buttons.pending(
            draft,
            has_words=bool(split_bubbles(draft.text)),
            rests=_rests(draft),
            more=draft.variant < view.max_variants and not draft.another_due_at,
            may_trust=not view.is_auto,
            is_silent=view.silent_since is not None,
        )
    if draft.state == "rejected" and view.undoable:
        return buttons.skipped(draft)
    if draft.is_automatic and draft.state in ("approved", "sending", "sent"):
        may_undo = draft.undo_until is not None
        return buttons.automatic(draft, may_undo=may_undo, is_auto=view.is_auto, is_silent=view.silent_since is not None)
    return None


def _plain(part: Text | str) -> str:
    return part if isinstance(part, str) else str(part.as_kwargs()["text"])


def _shown_words(message: Message) -> str:
    return message.text if message.kind == "text" else f"[{message.kind}] {message.text}".strip()


def _shown_answer(bubbles: list[str]) -> str:
    """A dot before each bubble if there are several: on a phone long lines wrap, and one could not tell. No dots where they would
    push a draft off its card."""
    dotted = "\n".join("• " + bubble.replace("\n", "\n    ") for bubble in bubbles)
    return dotted if len(bubbles) > 1 and length(dotted) <= MAX_DRAFT else "\n".join(bubbles)
