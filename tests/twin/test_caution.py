"""Caution: what is sensitive is held back in twelve languages and many spellings, small talk is let go."""

from __future__ import annotations

from itertools import cycle

import pytest
from caution_cases import CALM, CODES, DRAFTS, HARMLESS, HEALTH, INJECTION, MONEY, PROMISES
from factories import chat, them

from twin import caution, word_lists
from twin.turns import Message

LISTS = word_lists.load()
SENSITIVE = [
    (flag, text)
    for flag, texts in (("injection", INJECTION), ("money", MONEY), ("codes", CODES), ("health", HEALTH), ("promises", PROMISES))
    for text in texts
]


def flags(theirs: str, ours: str = "haha yes", history: list[Message] | None = None, **more: object) -> list[str]:
    return caution.flags([ours], chat(them(theirs)), history or [], lists=LISTS, **{"mean_logprob": None, "min_logprob": None, **more})


def test_the_tables_are_long_and_say_nothing_twice():
    attacks = [text for _, text in SENSITIVE] + [text for texts in DRAFTS.values() for text in texts]
    assert len(set(attacks)) == len(attacks) >= 200
    assert len(set(HARMLESS)) == len(HARMLESS) >= 150


@pytest.mark.parametrize(("flag", "text"), SENSITIVE)
def test_what_a_contact_writes_is_flagged(flag, text):
    assert flag in flags(text)


@pytest.mark.parametrize(("flag", "text"), [(flag, text) for flag, texts in DRAFTS.items() for text in texts])
def test_what_the_draft_says_is_flagged(flag, text):
    assert flag in flags("ok", text)


def test_small_talk_goes_by_itself():
    held = {text: found for text, ours in zip(HARMLESS, cycle(CALM), strict=False) if (found := flags(text, ours))}
    assert len(held) / len(HARMLESS) <= 0.05, held


def test_a_flag_of_small_talk_shows_in_no_language_more_than_in_another():
    """Words of one language must not be sensitive because they look like another's: "para", "hasta", "tot", "sous"."""
    for text in ("es para ti", "hasta luego", "c'est sous la table", "er ist grand", "what a tan", "cher Paul", "Lana says hi"):
        assert flags(text) == []
