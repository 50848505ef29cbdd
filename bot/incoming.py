"""aiogram's message -> the twin's."""

from __future__ import annotations

from aiogram import types
from aiogram.enums import ContentType

from twin.names import clean_name
from twin.turns import Message

# What a person sends; everything else that Telegram puts into a private chat (a pinned message, a timer set) is service.
MEDIA = {
    ContentType.ANIMATION,
    ContentType.AUDIO,
    ContentType.CHECKLIST,
    ContentType.CONTACT,
    ContentType.DICE,
    ContentType.DOCUMENT,
    ContentType.GAME,
    ContentType.LIVE_PHOTO,
    ContentType.LOCATION,
    ContentType.PAID_MEDIA,
    ContentType.PHOTO,
    ContentType.POLL,
    ContentType.STICKER,
    ContentType.STORY,
    ContentType.UNKNOWN,  # newer than this version of aiogram
    ContentType.VENUE,
    ContentType.VIDEO,
    ContentType.VIDEO_NOTE,
    ContentType.VOICE,
}
MAX_KIND = 16


def to_message(message: types.Message) -> Message:
    """A message received in a private chat with the bot."""
    return Message(
        channel="bot",
        dialog_id=message.chat.id,
        message_id=message.message_id,
        out=False,
        sent_at=message.date,
        text=message.text or message.caption or "",
        kind=_kind(message),
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


def _kind(message: types.Message) -> str:
    content = ContentType(message.content_type)
    if content is ContentType.TEXT:
        return "text"
    return content.value[:MAX_KIND] if content in MEDIA else "service"
