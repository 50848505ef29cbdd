"""Messages of a Telegram Desktop export (result.json) -> rows of the store, with the same words and kinds as collected ones.

Read from tdesktop's export_output_json.cpp: values are left out when empty, `date` is the exporting machine's local time
(`date_unixtime` came later), `from_id` is "user123" (a bare number in old exports), `text` a string or an array of parts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from twin.media import is_dice, own_words
from twin.turns import Message

MEDIA_TYPES = {
    "sticker": "sticker",
    "video_message": "video_note",
    "voice_message": "voice",
    "animation": "animation",
    "video_file": "video",
    "audio_file": "audio",
}  # any other media_type: unsupported
# Without a media_type the keys tell; the first one that is there.
MEDIA_KEYS = {
    "photo": "photo",
    "contact_information": "contact",
    "place_name": "venue",
    "location_information": "location",
    "poll": "poll",
    "game_title": "game",
    "invoice_information": "invoice",
    "giveaway_information": "giveaway",
    "giveaway_results": "giveaway",
    "paid_stars_amount": "paid_media",
    "todo_list": "todo",
    "file": "document",
}
LARGEST_ID = 2**63 - 1
SHIFT = 2**32


class Unreadable(Exception):
    """A message that cannot be used: its value at `key` is not what was `expected`."""

    def __init__(self, key: str, expected: str) -> None:
        super().__init__(f"{key}: expected {expected}")
        self.key = key
        self.expected = expected


@dataclass(frozen=True)
class Exported:
    """A message that was read; `has_local_time` if the file gave no zone."""

    message: Message
    has_local_time: bool


def is_old(raw: Any) -> bool:
    """Whether it is of an export of 2019 or 2020, which writes accounts as bare numbers, some of them as 2**32 and the id."""
    return isinstance(raw, dict) and _is_id(raw.get("from_id", raw.get("actor_id")))


def unshifted(account_id: int) -> int:
    """An account's id in an old export: ids had 32 bits then."""
    return account_id % SHIFT


def sender_id(raw: Any) -> int | None:
    """The account that wrote it, None where the export does not say or a channel did. Raises Unreadable."""
    if not isinstance(raw, dict):
        raise Unreadable("", "an object")
    given = raw.get("from_id", raw.get("actor_id"))
    if given is None:
        return None
    if isinstance(given, str) and (match := re.fullmatch(r"user([0-9]{1,18})", given)):
        return int(match[1])
    if _is_id(given):
        return unshifted(int(given))
    if raw.get("type") == "service" and isinstance(given, str) and re.fullmatch(r"(?:channel|chat)[0-9]{1,18}", given):
        return None
    raise Unreadable("from_id", 'an account, such as "user123"')


def to_exported(raw: Any, dialog_id: int, *, sender: int | None) -> Exported | None:
    """One message of a private chat; None for "unsupported" ones, of which exports have nothing but the id.

    Raises Unreadable. Paths and phone numbers in the file are not looked at.
    """
    kind = raw.get("type", "message")
    if kind not in ("message", "service", "unsupported"):
        raise Unreadable("type", '"message", "service" or "unsupported"')
    if not _is_id(raw.get("id")):
        raise Unreadable("id", "a positive whole number")
    if kind == "unsupported":
        return None
    if sender is None and kind == "message":
        raise Unreadable("from_id", 'an account, such as "user123"')
    sent_at, has_local_time = _sent_at(raw)
    media = "service" if kind == "service" else media_kind(raw)
    text = "" if kind == "service" else _text(raw) or own_words(media, raw, "export")
    if media == "text" and is_dice(text):
        media = "dice"
    message = Message(
        channel="account",
        dialog_id=dialog_id,
        message_id=raw["id"],
        out=sender is not None and sender != dialog_id,
        sent_at=sent_at,
        text=cleaned(text),
        kind=media,
        # `reply_to_peer_id` is there if what it answers is in another chat
        reply_to_id=raw.get("reply_to_message_id") if _is_id(raw.get("reply_to_message_id")) and "reply_to_peer_id" not in raw else None,
        forwarded="forwarded_from" in raw or "saved_from" in raw,
        via_bot="via_bot" in raw,
        source="imported",
    )
    if any("\udc80" <= character <= "\udcff" for character in text):
        raise Unreadable("text", "UTF-8")
    return Exported(message, has_local_time)


def not_before(found: Exported, earlier: datetime) -> Exported:
    """The same message, `earlier` being when the one with the id before it was sent.

    A local time of the hour that the end of summer time repeats names two moments, and the file does not say which. Ids rise with
    time, so it is the second one where the first would put the message before that one.
    """
    sent_at = found.message.sent_at
    if not found.has_local_time or sent_at >= earlier:
        return found
    second = sent_at.astimezone().replace(tzinfo=None, fold=1).astimezone(UTC)
    return Exported(found.message._replace(sent_at=second), True) if second >= earlier else found


def media_kind(raw: dict[str, Any]) -> str:
    """ "text", or the kind of what is attached."""
    if "media_type" in raw:
        given = raw["media_type"]
        return MEDIA_TYPES.get(given, "unsupported") if isinstance(given, str) else "unsupported"
    return next((kind for key, kind in MEDIA_KEYS.items() if key in raw), "text")


def cleaned(text: str) -> str:
    """Without lone surrogates, which come from bytes that are no UTF-8 and which no database takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _sent_at(raw: dict[str, Any]) -> tuple[datetime, bool]:
    given = raw.get("date_unixtime")
    if given is not None:
        try:
            seconds = int(given) if isinstance(given, str) and given.isdecimal() and len(given) < 12 else given
            if isinstance(seconds, int) and not isinstance(seconds, bool):
                return datetime.fromtimestamp(seconds, UTC), False
        except (OverflowError, OSError, ValueError):
            pass
        raise Unreadable("date_unixtime", "a time in seconds")
    try:
        at = datetime.fromisoformat(raw["date"])
        return at.astimezone(UTC), at.tzinfo is None
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        raise Unreadable("date", "a time, such as 2024-01-31T12:00:00") from None


def _text(raw: dict[str, Any]) -> str:
    """The words without their formatting: `text`, or `text_entities` where that is all there is."""
    given = raw.get("text")
    if given is None:
        given = raw.get("text_entities") or ""
    if isinstance(given, str):
        return given
    if not isinstance(given, list):
        raise Unreadable("text", "a text or an array of its parts")
    return "".join(_part(part, place) for place, part in enumerate(given))


def _part(part: Any, place: int) -> str:
    words = part.get("text") if isinstance(part, dict) else part
    if not isinstance(words, str):
        raise Unreadable(f"text[{place}]", "a text or an object with one")
    return words


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_ID
