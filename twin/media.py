"""The words that media have of their own, beside a caption: one table for the three ways in which a message comes.

A chat may come by all of them, and the model has to read the same each time, in training and when it answers. Contacts, places and
files have no words of their own: numbers, addresses and file names are nothing to learn.

bot      a message of the Bot API, as aiogram gives it
account  the `media` of Telethon's message
export   a message of Telegram Desktop's result.json
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Way = Literal["bot", "account", "export"]


class Words(NamedTuple):
    """Where they stand, by way: names to follow one after the other; of a list the first that has it."""

    bot: str
    account: str
    export: str


OWN_WORDS: Mapping[str, Words] = {
    "sticker": Words("sticker.emoji", "document.attributes.alt", "sticker_emoji"),
    "poll": Words("poll.question", "poll.question.text", "poll.question"),
    "dice": Words("dice.emoji", "emoticon", "text"),
}
# An export has a dice as a text of its emoji alone, which is how one is sent (core.telegram.org/api/dice).
DICE = frozenset("🎲🎯🏀⚽🎳🎰")


def own_words(kind: str, raw: Any, way: Way) -> str:
    """What stands for a text where there is none; empty for kinds without words."""
    if kind not in OWN_WORDS:
        return ""
    found = raw
    for name in getattr(OWN_WORDS[kind], way).split("."):
        found = _of(found, name)
    return _plain(found)


def is_dice(text: str) -> bool:
    """Whether a text that an export gives is a dice."""
    return text.removesuffix("\ufe0f") in DICE


def _plain(found: Any) -> str:
    """A text, with or without its formatting."""
    if isinstance(found, list):
        return "".join(map(_plain, found))
    found = found.get("text") if isinstance(found, dict) else found
    return found if isinstance(found, str) else ""


def _of(raw: Any, name: str) -> Any:
    if isinstance(raw, list):
        return next((found for one in raw if (found := _of(one, name))), None)
    return raw.get(name) if isinstance(raw, dict) else getattr(raw, name, None)
