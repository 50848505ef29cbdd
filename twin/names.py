"""Names as one clean line. Whoever writes to the owner chooses their own name, so it is read as text and as nothing else.

clean_name   what the store keeps and gives back: `twin.store.dialogs` calls it, in both directions, so every name that is shown or
             read by a model is clean, those of an older store too
clean_text   a text of several lines for a terminal: no orders to it, everything else as it is
named        for people: NO_NAME for a contact without one, and what tells two of one name apart
in_prompt    for a model: numbers and addresses masked
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from twin.masking import mask_name
from twin.utf16 import cut, graphemes, length

NO_NAME = "no name"
SOMEBODY = "a friend"  # who a contact without a name is to the model
LONGEST = 160  # UTF-16 units; Telegram takes 64 for each of the two parts

# What a terminal takes for an order: ESC [ ... or ESC ] ... BEL and their kin (ECMA-48), also with the one-character C1 introducers.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
_LINE_ENDS = re.compile(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]")
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{2,6}\U000e007f")  # Scotland's: a black flag, tags, their end
_JOINERS = "\u200c\u200d"
_SHAPES = frozenset(map(chr, (*range(0xFE00, 0xFE10), 0x034F)))  # variation selectors, which make a picture of a sign
# Letters that no joiner and no selector changes: between them these are only a way to look like another name.
_PLAIN_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN", "HEBREW", "HIRAGANA", "KATAKANA", "HANGUL")
_BLANKS = "\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"  # letters by their category, and yet nothing is seen of them


@lru_cache(maxsize=4096)
def clean_name(name: str) -> str:
    """One line without control characters, escape sequences and marks that are not seen; empty if nothing else is in it.

    Marks of direction go, joiners stay where they join, tags stay within a flag.
    """
    if name.isascii() and name.isprintable():
        return cut(" ".join(name.split()), LONGEST)
    text = _LINE_ENDS.sub(" ", _ESCAPES.sub("", name))
    kept = " ".join("".join(_visible(cluster) for cluster in graphemes(text)).split()).rstrip(_JOINERS + " ")
    return cut(kept, LONGEST) if _is_seen(kept) else ""


def clean_text(text: str) -> str:
    """A text without control characters and escape sequences, marks of direction and line ends apart."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(char for char in _ESCAPES.sub("", text) if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs"))


def named(name: str, *, username: str | None, dialog_id: int, is_shared: bool, limit: int = 64) -> str:
    """A contact for people to read, in at most `limit` units. `is_shared`: another one has the same name."""
    apart = f" ({f'@{username}' if username else dialog_id})" if is_shared else ""
    return cut(clean_name(name) or NO_NAME, limit - length(apart)) + apart


def in_prompt(name: str) -> str:
    """A name as a model reads it: it stands at the head of every example, so a number in it would be learned by heart."""
    return mask_name(clean_name(name))


def folded(name: str) -> str:
    """What two spellings of one name have in common."""
    return unicodedata.normalize("NFKC", clean_name(name)).casefold()


def _visible(cluster: str) -> str:
    """A grapheme without what is not seen of it."""
    if _FLAG.fullmatch(cluster):
        return cluster
    kept = [char for char in cluster if char in _JOINERS or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    if kept and unicodedata.name(kept[0], "").startswith((*_PLAIN_SCRIPTS, "SPACE")):
        kept = [char for char in kept if char not in _JOINERS and char not in _SHAPES]
    # A joiner joins what is before it to what is behind: alone, or before a space, it is nothing.
    return "".join(kept) if any(char not in _JOINERS for char in kept) else ""


def _is_seen(name: str) -> bool:
    return any(char not in _JOINERS and char not in _BLANKS and unicodedata.category(char)[0] not in "MZ" for char in name)
