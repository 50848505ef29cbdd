"""aiogram's message -> the twin's."""

from __future__ import annotations

from aiogram import types
from aiogram.enums import ContentType

from twin.media import own_words
from twin.names import clean_name
from twin.turns import Message

# What a person sends, by the kinds that collection and import tell apart; everything else that Telegram puts into a private chat
# (a pinned message, a timer set, a gift) is service.
KINDS = {
    ContentType.TEXT: "text",
    ContentType.ANIMATION: "animation",
    ContentType.AUDIO: "audio",
    ContentType.CHECKLIST: "todo",
    ContentType.CONTACT: "contact",
    ContentType.DICE: "dice",
    ContentType.DOCUMENT: "document",
    ContentType.GAME: "game",
    ContentType.GIVEAWAY: "giveaway",
    ContentType.GIVEAWAY_WINNERS: "giveaway",
    ContentType.INVOICE: "invoice",
    ContentType.LIVE_PHOTO: "photo",
    ContentType.LOCATION: "location",
    ContentType.PAID_MEDIA: "paid_media",
    ContentType.PHOTO: "photo",
    ContentType.POLL: "poll",
    ContentType.RICH_MESSAGE: "unsupported",
    ContentType.STICKER: "sticker",
    ContentType.STORY: "story",
    ContentType.UNKNOWN: "unsupported",  # newer than this version of aiogram
    ContentType.VENUE: "venue",
    ContentType.VIDEO: "video",
    ContentType.VIDEO_NOTE: "video_note",
    ContentType.VOICE: "voice",
}


def to_message(message: types.Message) -> Message:
    """A message received in a private chat with the bot."""
    kind = KINDS.get(ContentType(message.content_type), "service")
    return Message(
        channel="bot",
        dialog_id=message.chat.id,
        message_id=message.message_id,
        out=False,
        sent_at=message.date,
        text=message.text or message.caption or own_words(kind, message, "bot"),
        kind=kind,
        reply_to_id=replied.message_id if (replied := replied_to(message)) else None,
        forwarded=message.forward_origin is not None,
        via_bot=message.via_bot is not None,
        source="received",
        unattended=bool(message.is_from_offline),
        thread_id=message.message_thread_id if message.is_topic_message else None,
    )


def replied_to(message: types.Message) -> types.Message | None:
    """The message that this one answers. What is written in a topic comes as an answer to the message that opened the topic, which is
    none: https://core.telegram.org/bots/api#message."""
    replied = message.reply_to_message
    if replied is None or replied.forum_topic_created or (message.is_topic_message and replied.message_id == message.message_thread_id):
        return None
    return replied


def to_account_message(message: types.Message, owner_id: int) -> Message | None:
    """A message of the owner's private chat with a person, by either, as a connection shows it; None: it is something else.

    Its ids are those of the owner's own box, as the collector reads them."""
    sender, chat = message.from_user, message.chat
    if chat.type != "private" or sender is None or chat.id == owner_id or sender.id not in (owner_id, chat.id):
        return None
    if sender.is_bot or message.sender_chat:
        return None
    return to_message(message)._replace(channel="account", out=sender.id == owner_id, source="business")


def full_name(person: types.User | types.Chat) -> str:
    """The name of a person, the username where nothing is seen of it."""
    return clean_name(person.full_name or "") or person.username or ""
