"""Media as MessageMedia. A file's id is its message's uid, so upload.getFile finds it again."""

from __future__ import annotations

from typing import Any

from telethon.tl import types

from sandbox.mtproto.session import DC_ID
from sandbox.world import Account, Media, Message

FILE_REFERENCE = b"sandbox"
ACCESS_HASH = 4_711
FULL_SIZE = "x"  # the one size that photos come in


def message_media(message: Message, media: Media, sender: Account | None) -> Any:
    """The TL form. A kind that the layer has no file type for is messageMediaUnsupported, as newer media are to old clients."""
    match media.kind:
        case "photo":
            size = types.PhotoSize(FULL_SIZE, media.width or 1, media.height or 1, len(media.content))
            photo = types.Photo(message.uid, ACCESS_HASH, FILE_REFERENCE, message.date, [size], DC_ID)
            return types.MessageMediaPhoto(photo=photo)
        case "contact":
            return types.MessageMediaContact("", sender.first_name if sender else "", "", "", 0)
        case "location":
            return types.MessageMediaGeo(types.GeoPoint(0.0, 0.0, 0))
        case "venue":
            return types.MessageMediaVenue(types.GeoPoint(0.0, 0.0, 0), media.file_name or "", "", "", "", "")
        case "dice":
            return types.MessageMediaDice(1, media.emoji or "🎲")
        case "poll":
            return _poll(message, media)
        case _:
            attributes = _attributes(media)
            if attributes is None:
                return types.MessageMediaUnsupported()
            return types.MessageMediaDocument(
                document=_document(message, media, attributes),
                video=media.kind in ("video", "video_note") or None,
                round=media.kind == "video_note" or None,
                voice=media.kind == "voice" or None,
            )


def _poll(message: Message, media: Media) -> Any:
    def text(words: str) -> Any:
        return types.TextWithEntities(words, [])

    answers = [types.PollAnswer(text(words), str(i).encode()) for i, words in enumerate(("yes", "no"))]
    return types.MessageMediaPoll(types.Poll(message.uid, text(media.file_name or "poll"), answers, 0), types.PollResults())


def _attributes(media: Media) -> list[Any] | None:
    """The document attributes that make this kind what it is; None for a kind that is no file."""
    named = [types.DocumentAttributeFilename(media.file_name)] if media.file_name else []
    width, height = media.width, media.height
    match media.kind:
        case "document":
            return named
        case "voice":
            return [types.DocumentAttributeAudio(media.duration, voice=True), *named]
        case "audio":
            return [types.DocumentAttributeAudio(media.duration), *named]
        case "video":
            return [types.DocumentAttributeVideo(media.duration, width, height), *named]
        case "video_note":
            return [types.DocumentAttributeVideo(media.duration, width, height, round_message=True), *named]
        case "animation":
            return [types.DocumentAttributeVideo(media.duration, width, height), types.DocumentAttributeAnimated(), *named]
        case "sticker":
            return [
                types.DocumentAttributeImageSize(width or 512, height or 512),
                types.DocumentAttributeSticker(media.emoji or "", types.InputStickerSetEmpty()),
                *named,
            ]
        case _:
            return None


def _document(message: Message, media: Media, attributes: list[Any]) -> Any:
    return types.Document(message.uid, ACCESS_HASH, FILE_REFERENCE, message.date, media.mime_type, len(media.content), DC_ID, attributes)
