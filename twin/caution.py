"""Why a draft waits for the owner although its contact is on auto, in words."""

from __future__ import annotations

PHRASES = {
    "money": "about money",
    "codes": "about passwords or codes",
    "health": "about health",
    "promises": "an appointment or a promise",
    "injection": "seems to be giving the twin instructions",
    "private": "says an address or a number that was not said in this chat",
    "unsure": "the twin is not sure of its words",
    "wordless": "there is something that the twin cannot see or hear",
    "row": "many automatic answers in a row without you",
    "limit": "enough automatic answers for now",
    "quiet": "quiet hours",
    "paused": "all was paused before it went",
    "switched": "the mode was changed before it went",
}


def describe(flag: str) -> str:
    """A phrase for the owner; a flag of a later version stands for itself."""
    return PHRASES.get(flag, flag)
