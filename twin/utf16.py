"""Text measured as Telegram measures it: in UTF-16 code units, in which an emoji counts two or more.

It is cut between graphemes (Unicode UAX 29), what a reader takes for one character: a letter with its marks, a flag of two letters
or of tags, a family of joined emoji, a keycap.
"""

from __future__ import annotations

MARK = "…"  # what a cut text ends in


def length(text: str) -> int:
    if text.isascii():
        return len(text)
    return len(text) + sum(1 for char in text if ord(char) > 0xFFFF)


def graphemes(text: str) -> list[str]:
    """The characters of a text as a reader counts them."""
    if text.isascii() and "\r\n" not in text:
        return list(text)
    import regex  # 50 ms, and most texts are never cut

    found: list[str] = regex.findall(r"\X", text)
    return found


def cut(text: str, limit: int, mark: str = MARK) -> str:
    """`text` if it fits into `limit` units, else its beginning and the mark. No emoji or letter is torn apart."""
    if length(text) <= limit:
        return text
    room = limit - length(mark)
    return text[: _fitting(text, room)].rstrip() + mark if room > 0 else ""


def first(text: str, count: int) -> str:
    """The first `count` characters of a text, fewer where the next one would be torn apart."""
    if len(text) <= count or text.isascii():
        return text[:count]
    end = 0
    for cluster in graphemes(text[: count + _LONGEST]):
        if end + len(cluster) > count:
            break
        end += len(cluster)
    return text[:end]


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


_LONGEST = 64  # characters behind a cut that are looked at: no grapheme but a heap of marks is longer


def _fitting(text: str, limit: int) -> int:
    """How many characters of `text` take at most `limit` units, without tearing a grapheme apart."""
    units = whole = 0
    while whole < len(text) and (units := units + (2 if ord(text[whole]) > 0xFFFF else 1)) <= limit:
        whole += 1
    end = 0
    for cluster in graphemes(text[: whole + _LONGEST]):
        if end + len(cluster) > whole:
            break
        end += len(cluster)
    return end or whole  # one grapheme takes more than there is room: cut anywhere
