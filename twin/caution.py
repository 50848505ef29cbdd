"""Why a draft waits for the owner although its contact is on auto, in words."""

from __future__ import annotations

WORDS = {
    "money": "it is about money",
    "codes": "it is about codes or passwords",
    "health": "it is about health",
    "promises": "it makes an appointment or a promise",
    "unsure": "I am not sure of the words",
    "injection": "they seem to be giving me instructions",
    "private": "it may say something private",
    "limit": "the limit of automatic answers is reached",
    "quiet": "these are quiet hours",
    "paused": "everything was paused",
    "switched": "the mode of this contact was changed",
}


def describe(flag: str) -> str:
    """A phrase for the owner; a flag of a later version stands for itself."""
    return WORDS.get(flag, flag)
