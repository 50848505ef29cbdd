"""Telethon's messages -> rows of the store. Telethon's classes are told apart by name, so this module does not import it.

What has words of its own beside a caption keeps them as text (twin.media). `trainer.export_messages` reads the same out of an
export, and `bot.incoming` out of what the bot is sent: a chat may come in all three ways.
"""

from __future__ import annotations

from typing import Any

from twin.media import own_words
from twin.turns import Message

MEDIA_KINDS = {
    "MessageMediaEmpty": "text",
    "MessageMediaWebPage": "text",  # a text with a link and its preview
    "MessageMediaPhoto": "photo",
    "MessageMediaContact": "contact",
    "MessageMediaGeo": "location",
    "MessageMediaGeoLive": "location",
    "MessageMediaVenue": "venue",
    "MessageMediaPoll": "poll",
    "MessageMediaDice": "dice",
    "MessageMediaGame": "game",
    "MessageMediaStory": "story",
    "MessageMediaInvoice": "invoice",
    "MessageMediaGiveaway": "giveaway",
    "MessageMediaGiveawayResults": "giveaway",
    "MessageMediaPaidMedia": "paid_media",
    "MessageMediaToDo": "todo",
}  # any other, and what Telegram adds later: unsupported


def to_message(raw: Any, dialog_id: int) -> Message | None:
    """One message of a private chat; None for a place where none is any more (messageEmpty)."""
    shape = type(raw).__name__
    if shape == "MessageEmpty":
        return None
    if shape == "MessageService":
        return Message("account", dialog_id, raw.id, bool(raw.out), raw.date, "", "service", reply_to_id(raw.reply_to))
    text, kind = raw.message, "text"
    if raw.media is not None or not text:
        kind = media_kind(raw)
        text = text or own_words(kind, raw.media, "account")
    return Message(  # by place: names take as long again, and there are millions
        "account",
        dialog_id,
        raw.id,
        bool(raw.out),
        raw.date,
        text,
        kind,
        reply_to_id(raw.reply_to) if raw.reply_to else None,
        raw.fwd_from is not None,
        raw.via_bot_id is not None,
        "collected" if raw.via_business_bot_id is None else "twin",
        bool(raw.offline) or bool(raw.from_scheduled),
    )


def media_kind(raw: Any) -> str:
    """ "text", or the kind of what is attached."""
    if raw.media is None:
        # A rich message has its words in a tree of blocks, `message` is empty then.
        return "unsupported" if not raw.message and getattr(raw, "rich_message", None) else "text"
    shape = type(raw.media).__name__
    return document_kind(raw.media) if shape == "MessageMediaDocument" else MEDIA_KINDS.get(shape, "unsupported")


def document_kind(media: Any) -> str:
    """A file's kind by its attributes. One that is gone (self-destructed) has none; Telegram says then what it was."""
    attributes = {type(a).__name__.removeprefix("DocumentAttribute"): a for a in getattr(media.document, "attributes", None) or ()}
    if not attributes:
        return "voice" if media.voice else "video_note" if media.round else "video" if media.video else "document"
    if "Sticker" in attributes or "CustomEmoji" in attributes:
        return "sticker"
    if "Animated" in attributes:
        return "animation"
    if "Video" in attributes:
        return "video_note" if attributes["Video"].round_message else "video"
    if "Audio" in attributes:
        return "voice" if attributes["Audio"].voice else "audio"
    return "document"


def reply_to_id(header: Any) -> int | None:
    """The id of the message of this chat that is answered; None for a story or a message of another chat."""
    if header is None or getattr(header, "reply_to_peer_id", None) is not None:
        return None
    found: int | None = getattr(header, "reply_to_msg_id", None)
    return found
