"""Text measured as Telegram measures it: in UTF-16 code units, in which an emoji counts two or more."""

from __future__ import annotations

import unicodedata

MARK = "…"  # what a cut text ends in
JOINER = "\u200d"


def length(text: str) -> int:
    if text.isascii():
        return len(text)
    return len(text) + sum(1 for char in text if ord(char) > 0xFFFF)


def cut(text: str, limit: int, mark: str = MARK) -> str:
    """`text` if it fits into `limit` units, else its beginning and the mark. No emoji or letter is torn apart."""
    if length(text) <= limit:
        return text
    room = limit - length(mark)
    return text[: _fitting(text, room)].rstrip() + mark if room > 0 else ""


def pieces(text: str, limit: int) -> list[str]:
    """`text` in parts of at most `limit` units, parted at white space where there is any. Blank parts are dropped."""
    parts = []
    while length(text) > limit:
        end = _fitting(text, limit) or 1
        space = max(text.rfind(" ", 0, end), text.rfind("\n", 0, end))
        end = space if space > end // 2 else end
        parts.append(text[:end].strip())
        text = text[end:]
    return [part for part in (*parts, text.strip()) if part]


def _fitting(text: str, limit: int) -> int:
    """How many characters of `text` take at most `limit` units, without tearing a letter from its marks."""
    units = end = 0
    while end < len(text) and (units := units + (2 if ord(text[end]) > 0xFFFF else 1)) <= limit:
        end += 1
    whole = end
    while 0 < end < len(text) and (_belongs_to_previous(text[end]) or text[end - 1] == JOINER):
        end -= 1
    return end or whole  # nothing but marks: cut anywhere


def _belongs_to_previous(char: str) -> bool:
    skin_tone = "\U0001f3fb" <= char <= "\U0001f3ff"
    return skin_tone or char == JOINER or unicodedata.category(char) in ("Mn", "Me", "Mc")  # U+FE0F is Mn
