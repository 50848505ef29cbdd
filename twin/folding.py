"""Text as it is compared: tricks of spelling undone, so that "Ｐａｓｓｗоrd", "p.a.s.s.w.o.r.d" and "passw0rd" are one word.

flat    NFKC, no invisible characters, digits of every script as 0-9
fold    that without case and accents
words   the folded words of a text
views   the same text read in every way that its spelling allows: as it stands, joined across dots and spaces, digits as letters
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Invisible, or between letters without parting them: soft hyphen, zero-width and direction marks, variation selectors, tatweel.
INVISIBLE = "\u00ad\u034f\u061c\u0640\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
_INVISIBLE = re.compile(f"[{INVISIBLE}\U000e0000-\U000e007f]+")
# Accents, points and vowel marks of Latin, Greek, Cyrillic, Hebrew and Arabic. Those of Indic scripts are part of the word.
_MARKS = re.compile("[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u093c]+")
_SAME = str.maketrans(
    {
        "ı": "i",
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "æ": "ae",
        "œ": "oe",
        "ة": "ه",
        "ى": "ي",
        "ی": "ي",
        "ک": "ك",
        "ٱ": "ا",
        "ँ": "ं",
        "’": "'",
        "ʼ": "'",
    }
    | dict(zip("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz", strict=True))
)
# Letters of Cyrillic and Greek that look like a Latin one (Unicode TR 39, confusables), after case folding.
_LATIN_OF = str.maketrans("авгеһікмнорстухуѕјԁԛԝցοαερτυνικχ", "abrehikmhopctyxysjdqwgoaeptuvikx")
_CYRILLIC_OF = str.maketrans("aekmhopctyx", "аекмнорстух")
_LETTER_OF = str.maketrans("013457@$!|", "oieastasii")
WORD = re.compile(r"[\w\u0900-\u0963\u0966-\u0d7f]+")
_UNPARTED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
UNPARTED = re.compile(f"[{_UNPARTED}]")  # scripts that write no space between words
_INSIDE = re.compile(r"(?<=[^\W\d_])[.\-_*·•/\\|~+^]+(?=[^\W\d_])")  # p.a.y, pass-word
_SPACED = re.compile(r"(?<!\w)(?:[^\W_][\s.,\-_*·|/]+){4,}[^\W_](?!\w)")  # i g n o r e
_LATIN = re.compile("[a-z]{2}")
_LOOKALIKE = re.compile("(?<!\\w)[авгеһікмнорстухѕјԁԛԝց]{3,}(?!\\w)")
_LETTERLIKE = re.compile(r"(?<=[^\W\d_])[0134578@$!|]|[0134578@$|](?=[^\W\d_])")


def fold(text: str) -> str:
    if text.isascii():
        return text.lower()
    parted = unicodedata.normalize("NFKD", flat(text).casefold())
    return unicodedata.normalize("NFKC", _MARKS.sub("", parted).translate(_SAME))


def flat(text: str) -> str:
    """The text with its case, in one width, with nothing invisible in it and with digits as 0-9."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    if any(c > "9" and c.isdecimal() for c in text):
        text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    return text


def words(text: str) -> list[str]:
    """The words of a text that is folded already."""
    return [word if word.isascii() else _one_script(word) for word in WORD.findall(text)]


def views(text: str) -> list[list[str]]:
    """All readings of a folded text as words; the first is the plain one."""
    found = [words(text)]
    joined = _INSIDE.sub("", _SPACED.sub(_close, text))
    if joined != text:
        found.append(words(joined))
    if _LETTERLIKE.search(joined):
        found.append(words(_LETTERLIKE.sub(lambda sign: sign.group().translate(_LETTER_OF), joined)))
    if not text.isascii() and _LATIN.search(text) and _LOOKALIKE.search(text):
        found.append(words(_LOOKALIKE.sub(lambda word: word.group().translate(_LATIN_OF), text)))
    return found


def spelled(text: str) -> list[str]:
    """Runs of single letters of a folded text, put together: "i g n o r e a l l" -> "ignoreall"."""
    return [re.sub(r"[\W_]+", "", run) for run in _SPACED.findall(text)]


def _close(run: re.Match[str]) -> str:
    """Single letters put together; two signs between them part words."""
    return re.sub(r"[\W_]+", lambda gap: " " if len(gap.group()) > 1 else "", run.group())


@lru_cache(maxsize=4096)
def _one_script(word: str) -> str:
    """A word whose letters are of two scripts, in the one that most of them are of."""
    latin = sum("a" <= c <= "z" for c in word)
    other = sum("\u0370" <= c <= "\u052f" for c in word)
    if not latin or not other:
        return word
    return word.translate(_LATIN_OF) if latin >= other else word.translate(_CYRILLIC_OF)
