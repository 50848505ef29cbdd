"""Entities over text: offsets in UTF-16 code units, order, links, trimming, and what the server finds by itself."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

Entity = dict[str, Any]

DETECTED = re.compile(
    r"(?P<bot_command>(?<![\w/<>@])/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?(?![\w/]))"
    r"|(?P<email>(?<![\w.+-])[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}\b)"
    r"|(?P<url>(?<![\w@.])(?:(?:https?|tg)://[^\s<>\"]+[^\s<>\".,!?;:')\]]|(?:www\.|t\.me/)[^\s<>\"]+[^\s<>\".,!?;:')\]]))"
    r"|(?P<mention>(?<!\w)@[A-Za-z]\w{2,31}\b)"
    r"|(?P<hashtag>(?<![\w&])\#\w*[^\W\d]\w*)",
    re.ASCII,
)
OPAQUE = frozenset({"code", "pre", "text_link", "text_mention", "custom_emoji"})  # nothing is detected inside these


class Unparsable(Exception):
    """Text that its parse_mode cannot read; the message is Telegram's."""


def utf16_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def byte_offset(text: str, place: int) -> int:
    return len(text[:place].encode())


def sort_entities(entities: list[Entity]) -> list[Entity]:
    """Outer before inner, as Telegram lists them."""
    return sorted(entities, key=lambda e: (e["offset"], -e["length"]))


def link_entity(url: str) -> Entity | None:
    """A text_link, or a text_mention for tg://user?id=; None if the URL is none (the text then stays plain)."""
    parts = urlsplit(url if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url) else f"http://{url}")
    if parts.scheme == "tg" and (parts.netloc or parts.path) == "user":
        ids = parse_qs(parts.query).get("id", [""])
        return {"type": "text_mention", "user": {"id": int(ids[0])}} if ids[0].isdecimal() else None
    if parts.scheme == "tg":
        return {"type": "text_link", "url": url}
    if parts.scheme not in ("http", "https", "ton", "tonsite") or "." not in parts.netloc.strip("."):
        return None
    tail = parts.path or "/"
    query = f"?{parts.query}" if parts.query else ""
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    return {"type": "text_link", "url": f"{parts.scheme}://{parts.netloc}{tail}{query}{fragment}"}


def trim(text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    """Without white space at both ends, as the server keeps a text; entities move along, empty ones go."""
    begin = utf16_length(text) - utf16_length(text.lstrip())
    stripped = text.strip()
    end = utf16_length(stripped)
    kept = []
    for entity in entities:
        first = max(0, entity["offset"] - begin)
        last = min(end, entity["offset"] + entity["length"] - begin)
        if last > first:
            kept.append({**entity, "offset": first, "length": last - first})
    return stripped, sort_entities(kept)


def detected(text: str, known: list[Entity]) -> list[Entity]:
    """`known` plus commands, mentions, hashtags, links and e-mail addresses found outside of opaque entities."""
    if not any(c in text for c in "/@#.:"):
        return known
    opaque = [(e["offset"], e["offset"] + e["length"]) for e in known if e["type"] in OPAQUE]
    taken = {(e["type"], e["offset"]) for e in known}
    found = []
    for match in DETECTED.finditer(text):
        offset = utf16_length(text[: match.start()])
        length = utf16_length(match[0])
        kind = match.lastgroup
        if (kind, offset) in taken or any(offset < end and begin < offset + length for begin, end in opaque):
            continue
        found.append({"type": kind, "offset": offset, "length": length})
    return sort_entities(known + found) if found else known
