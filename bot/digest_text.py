"""The digest in words: what the twin did while the owner was away, in one message."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any

from aiogram.utils.formatting import Bold, Italic, Text

from bot.cards import ISOLATE, MAX_TEXT, POP, is_right_to_left, shown_name
from twin.digest import Digest, Doings
from twin.utf16 import cut, length

MAX_LAST = 80  # of the last automatic answer


def digest_text(digest: Digest, *, silent_since: datetime | None, now: datetime, zone: tzinfo) -> Text:
    """As many contacts as fit; how many more there are, if they do not."""
    since = moment(digest.since, now, zone)
    if not digest.contacts:
        return Text(f"Nothing happened since {since}.", _silent(silent_since, now, zone))
    parts: list[Any] = [Bold("While you were away"), f" · since {since}\n"]
    end = _silent(silent_since, now, zone)
    room = MAX_TEXT - length(_plain(parts)) - length(end) - 40
    for i, contact in enumerate(digest.contacts):
        lines = ["\n", Bold(shown_name(contact.name)), *(f"\n{line}" for line in _lines(contact)), "\n"]
        room -= length(_plain(lines))
        if room < 0:
            parts += ["\n", Italic(f"and {len(digest.contacts) - i} more contacts\n")]
            break
        parts += lines
    return Text(*parts, end)


def moment(at: datetime, now: datetime, zone: tzinfo) -> str:
    """On the owner's wall clock: the time, with the day if it is not today."""
    local, today = at.astimezone(zone), now.astimezone(zone)
    if local.date() == today.date():
        return f"{local:%H:%M}"
    return f"{local:%a %H:%M}" if (today.date() - local.date()).days < 7 else f"{local:%d %b, %H:%M}"


def _lines(contact: Doings) -> list[str]:
    lines = []
    if contact.automatic:
        last = cut(contact.last, MAX_LAST)
        last = f"{ISOLATE}{last}{POP}" if is_right_to_left(last) else last
        lines.append(f"{_times(contact.automatic, 'answer')} by itself" + (f", the last: “{last}”" if last else ""))
    if contact.waiting:
        lines.append(f"{_times(contact.waiting, 'draft')} for you to decide on")
    if contact.expired:
        lines.append(f"{_times(contact.expired, 'draft')} expired before you decided")
    if contact.undelivered:
        lines.append(f"{_times(contact.undelivered, 'answer')} not delivered, or in doubt")
    return lines


def _times(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _silent(since: datetime | None, now: datetime, zone: tzinfo) -> str:
    return f"\nAll is paused since {moment(since, now, zone)}. /resume goes on." if since else ""


def _plain(parts: list[Any]) -> str:
    return str(Text(*parts).as_kwargs()["text"])
