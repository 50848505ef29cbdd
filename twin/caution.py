"""Caution: what an automatic answer is held back for. Each thing that speaks against it is a flag, and one flag makes it a card.

    money codes health promises   the contact's words or the draft touch such a matter (twin.word_lists, and the shapes below)
    injection                     somebody seems to instruct the twin: in the messages, their quotes, their name, or in hiding
    private                       the draft says an address, number or name mark that this chat has not said before
    unsure                        the words were less likely than what the active adapter says on the holdout (twin.confidence)
    wordless                      the draft has no words, or the contact sent what the twin cannot see or hear

Everything here is pure and looks at text only. It is a net with holes: lists know words, not meanings. It is made to hold back
too much rather than too little, because a card costs a tap and a wrong message costs more.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from urllib.parse import unquote

from twin.folding import flat, fold, spelled
from twin.masking import MASK, maskable
from twin.turns import Message, by_key
from twin.word_lists import WordLists

MATTERS = frozenset({"money", "codes", "health", "promises", "injection"})
PHRASES = {
    "money": "about money",
    "codes": "about passwords or codes",
    "health": "about health",
    "promises": "an appointment or a promise",
    "injection": "seems to be giving the twin instructions",
    "private": "says an address or a number that was not said in this chat",
    "unsure": "the twin is not sure of its words",
    "wordless": "there is something that the twin cannot see or hear",
    "row": "several answers in a row went without you",
    "limit": "enough automatic answers for now",
    "paused": "you paused everything before it went",
    "switched": "you took this contact off auto before it went",
}
REMEMBERED = 20  # of the contact's messages: an instruction goes on working for as long as it stands in the prompt
SHORT, SHORT_WORDS = 50, 7  # characters and words: "are u a bot lol"
HARMLESS_KINDS = frozenset({"text", "sticker", "animation", "dice"})

_CURRENCY = r"(?:[$€£¥₽₹₺₴₩₪฿]|\b(?:usd|eur|gbp|chf|rub|uah|try|inr|brl|aed|sar)\b)"
_AMOUNT = re.compile(rf"{_CURRENCY}\s?\d|\d[\d.,]{{0,15}}\s?k?\s?{_CURRENCY}")
_ACCOUNT = re.compile(r"[A-Z]{2}\d\d[ A-Z\d]{11,}$")
_CODE_ALONE = re.compile(r"\W*(?:[a-z]{1,3}-)?(?!(?:19|20)\d\d\W*$)(?:\d{4,8}|\d{2,4}[ -]\d{2,4})\W*")
_CLOCK = re.compile(
    r"(?<![\d.,:/])(?:[01]?\d|2[0-3])"
    r"(?:[:h][0-5]\d|\s?(?:[:.][0-5]\d\s?)?(?:am|pm|a\.m\.|p\.m\.|uhr|o'clock|h|heures?|час(?:а|ов)|годин[иі]?|點|点|बजे)(?![a-z]))"
    r"|(?<![a-z])(?:at|um|gegen|a las|alle|às|as|в|о|saat|الساعه)\s(?:[01]?\d|2[0-3])(?![\d.,:%/]|\s?(?:%|km|kg|years?|jahre))\b"
    r"|[一二三四五六七八九十两]点"
)
_DATE = re.compile(
    r"(?<![\d.,])(?:[0-3]?\d\.(?:0?[1-9]|1[0-2])\.(?:\d{2,4})?|20\d\d-[01]\d-[0-3]\d"
    r"|(?!24/7|\d\d?/10\b|[123]/[234]\b)[0-3]?\d/[01]?\d(?:/\d{2,4})?)(?!\d)"
    r"|\d{1,2}月\d{1,2}[日号]"
)
_FIGURE = re.compile(r"[\d一二三四五六七八九十两]")
_QUESTION = re.compile("[?؟？]")
_ROLE_MARK = re.compile(
    r"<\|[^|>]{1,40}\|>|</?(?:system|s|user|assistant|human|instructions?|prompt)>|\[/?(?:inst|system|sys|user|assistant)\]|<</?sys>>"
    r"|<(?:start|end)_of_turn>|###\s*(?:system|instruction|human|assistant|response|user)|```\s*(?:system|prompt)"
    r'|"role"\s*:\s*"(?:system|assistant|user)"'
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX = re.compile(r"(?:(?:0x|\\x)?[0-9a-fA-F]{2}[\s,:]?){12,}")
_TAGS = re.compile("(?<!\U0001f3f4)[\U000e0020-\U000e007e]{4,}")  # invisible ASCII; after a black flag it names a region
_HIDDEN = re.compile("[\u200b-\u200f\u2060-\u2064\u202a-\u202e]{8,}")  # as many in a row spell something
_LINK = re.compile(
    r"(?:https?://|www\.|t\.me/|tg://)\S+"
    r"|(?<![\w@.-])(?:[\w-]{1,63}\.){1,8}"
    r"(?:com|org|net|io|me|de|fr|es|it|ru|ua|uk|br|pt|tr|in|cn|app|dev|info|co|gg|ly|link|xyz|onion)\b(?:/\S*)?"
)
_MENTION = re.compile(r"(?<![\w@.])@\w{3,}")
_SPOKEN_ADDRESS = re.compile(
    r"\b\w{2,40}\s?(?:[\[(]\s?(?:at|ät|chez|arroba)\s?[\])]|\s(?:at|arroba)\s)\s?\w{2,}(?:\s?[\[(]\s?dot\s?[\])]\s?|\sdot\s|\.)\w{2,}"
)
_NUMBER = re.compile(r"\d(?:[\s.()/-]{0,2}\d){5,}")
_PERHAPS = re.compile(r"[@.\[(/]|\d.*\d.*\d.*\d.*\d.*\d|\S{16}|\s(?:at|arroba)\s")
_WRITTEN_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|(?:19|20)\d\d\s?[-–/]\s?(?:19|20)\d\d")


def flags(
    bubbles: Sequence[str],
    burst: Sequence[Message],
    history: Sequence[Message],
    *,
    lists: WordLists,
    mean_logprob: float | None,
    min_logprob: float | None,
    name: str = "",
) -> list[str]:
    """Why this draft must not go by itself, in a fixed order; empty if nothing speaks against it.

    `bubbles` are the draft's, `burst` the contact's messages that it answers, `history` the dialog's newest messages over all
    channels, oldest first, and `name` what the contact is called in the prompt.
    """
    theirs = [fold(m.text) for m in burst if m.text]
    ours = [fold(bubble) for bubble in bubbles]
    found: set[str] = set()
    for text in (*theirs, *ours):
        found |= _matters(text, lists)
    if any(_CODE_ALONE.fullmatch(text) for text in theirs):
        found.add("codes")
    if _makes_an_appointment(theirs, ours, lists):
        found.add("promises")
    if "injection" not in found and any(instructs(text, lists) for text in _heard(bubbles, burst, history, name)):
        found.add("injection")
    if _tells(bubbles, [*history, *burst]):
        found.add("private")
    if mean_logprob is not None and min_logprob is not None and mean_logprob < min_logprob:
        found.add("unsure")
    if not any(bubble.strip() for bubble in bubbles) or any(m.kind not in HARMLESS_KINDS for m in burst):
        found.add("wordless")
    return [flag for flag in PHRASES if flag in found]


def describe(flag: str) -> str:
    """A flag as a card says it."""
    return PHRASES.get(flag, flag)


@lru_cache(maxsize=4096)
def _topics(text: str, lists: WordLists) -> frozenset[str]:
    return frozenset(lists.topics(text))


# --- matters ----------------------------------------------------------------------------------------------------------


def _matters(text: str, lists: WordLists) -> set[str]:
    found = set(_topics(text, lists) & MATTERS)
    if not _FIGURE.search(text):  # all that follows has one
        return found
    if _AMOUNT.search(text) or any(map(_ACCOUNT.match, maskable(text.upper()))):
        found.add("money")
    if _CLOCK.search(text) or _DATE.search(text):
        found.add("promises")
    return found


def _makes_an_appointment(theirs: Sequence[str], ours: Sequence[str], lists: WordLists) -> bool:
    """A day in the draft is a promise; a day in what the contact wrote is one if they ask something."""
    asked = any(map(_QUESTION.search, theirs))
    return any("days" in _topics(text, lists) for text in (*ours, *(theirs if asked else ())))


# --- instructions to the twin -----------------------------------------------------------------------------------------


@lru_cache(maxsize=8192)
def instructs(text: str, lists: WordLists) -> bool:
    """Whether a text, as it was written, seems to be meant for the twin and not for the owner. Remembered, because a chat's
    newest messages are looked at with each draft."""
    if _TAGS.search(text) or _HIDDEN.search(text):
        return True
    folded = fold(text)
    if _ROLE_MARK.search(folded) or lists.roles.search(folded) or "injection" in _topics(folded, lists):
        return True
    if "twin" in _topics(folded, lists) and (_QUESTION.search(folded) or _is_short(folded)):
        return True
    if any(map(lists.has_sentence, spelled(folded))):
        return True
    return any("injection" in lists.topics(fold(other)) for other in _decoded(text))


def _is_short(folded: str) -> bool:
    return len(folded) <= SHORT and len(folded.split()) <= SHORT_WORDS


def _heard(bubbles: Sequence[str], burst: Sequence[Message], history: Sequence[Message], name: str) -> Iterator[str]:
    """All that the prompt has from others, newest first, and the draft, which may parrot an instruction."""
    known = by_key(history) if any(m.reply_to_id is not None for m in burst) else {}
    yield name
    for message in burst:
        yield message.text
        quoted = known.get((message.channel, message.reply_to_id)) if message.reply_to_id is not None else None
        if quoted is not None and not quoted.out:
            yield quoted.text
    yield "\n".join(m.text for m in burst)  # an instruction may be cut into several messages
    yield from bubbles
    theirs = [m.text for m in history if not m.out and m.text][-REMEMBERED:]
    yield from reversed(theirs)


def _decoded(text: str) -> Iterator[str]:
    """What a text says to who decodes it: base64, hexadecimal, percent signs, HTML's names, rot13, backwards."""
    for match in _BASE64.finditer(text):
        yield from _readable(_from_base64(match.group()))
    for match in _HEX.finditer(text):
        yield from _readable(_from_hex(match.group()))
    if "%" in text:
        yield unquote(text)
    if "&" in text:
        yield html.unescape(text)
    if len(text) >= 12:
        yield text[::-1]
        if re.search("[A-Za-z]{6}", text):
            yield codecs.decode(text, "rot13")


def _from_base64(text: str) -> bytes:
    compact = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4))
    except binascii.Error:
        return b""


def _from_hex(text: str) -> bytes:
    digits = re.sub(r"0x|\\x|[\s,:]", "", text)
    return bytes.fromhex(digits[: len(digits) // 2 * 2])


def _readable(raw: bytes) -> Iterator[str]:
    """The text of some bytes, if they are one; UTF-16 of Latin letters has a zero in every other byte."""
    try:
        text = raw.replace(b"\0", b"").decode()
    except UnicodeDecodeError:
        return
    if text and sum(c.isprintable() or c.isspace() for c in text) > 0.9 * len(text):
        yield text


# --- what a draft must not tell ---------------------------------------------------------------------------------------


def _tells(bubbles: Sequence[str], said: Sequence[Message]) -> bool:
    """Whether the draft has an address, a number or a mark that nobody wrote in this chat. The twin's own words prove nothing."""
    told = {thing for bubble in bubbles for thing in _things(bubble)}
    if not told:
        return False
    known = {thing for m in said if m.source != "twin" for thing in _things(m.text)}
    return not told <= known


def _things(text: str) -> Iterator[str]:
    """Addresses, numbers and marks of a text, each in one spelling."""
    if text.isascii() and not _PERHAPS.search(text):
        return
    plain = flat(text)
    small = plain.casefold()
    yield from (re.sub(r"^(?:https?://)?(?:www\.)?", "", link).rstrip("/.,;:!?)»\"'") for link in _LINK.findall(small))
    yield from _MENTION.findall(small)
    yield from MASK.findall(small)
    yield from (re.sub(r"\W+", "", spoken) for spoken in _SPOKEN_ADDRESS.findall(small))
    yield from (re.sub(r"[\s.()-]+", "", thing).casefold() for thing in (*maskable(plain), *maskable(plain.upper())))
    yield from (re.sub(r"\D+", "", number) for number in _NUMBER.findall(plain) if not _WRITTEN_DATE.fullmatch(number))
