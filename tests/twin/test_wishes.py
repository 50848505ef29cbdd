"""Wishes: another, shorter, warmer; or nothing, if no candidate grants it."""

from __future__ import annotations

import pytest

from twin import word_lists
from twin.turns import join_bubbles
from twin.wishes import pick, warmth

LISTS = word_lists.load()


def test_shorter_is_the_fewest_characters_and_never_more_than_now():
    assert pick("shorter", "I think so", ["I do think that", "yes I do", "yes"], LISTS) == "yes"
    assert pick("shorter", "yes", ["I do", "yes!", "", "YES"], LISTS) is None


def test_what_parts_bubbles_counts_for_nothing():
    assert pick("shorter", "abcdef", [join_bubbles(["ab", "cd", "e"])], LISTS) is not None


@pytest.mark.parametrize(
    ("cold", "warm"),
    [
        ("ok", "ok, thank you so much!"),
        ("ja", "ja gerne, ich freu mich!"),
        ("oui", "oui merci, bisous"),
        ("sí", "¡sí, gracias cariño!"),
        ("sì", "sì grazie tesoro"),
        ("sim", "sim, obrigada querido"),
        ("да", "да, спасибо большое, обнимаю"),
        ("так", "так, дякую!"),
        ("tamam", "tamam canım, teşekkürler"),
        ("نعم", "نعم شكرا حبيبي"),
        ("हाँ", "हाँ यार, शुक्रिया"),
        ("好", "好的，谢谢你！"),
        ("fine.", "fine 😊"),
    ],
)
def test_warmer_is_warmer_in_every_language(cold, warm):
    assert pick("warmer", cold, ["no.", cold, warm], LISTS) == warm
    assert pick("warmer", warm, [cold], LISTS) is None


def test_cold_emoji_are_not_warm():
    assert warmth("fine 🙄", LISTS) == warmth("fine really", LISTS)


def test_another_says_something_else():
    assert pick("another", "Yes!", ["yes!", " YES!", "maybe"], LISTS) == "maybe"
    assert pick("another", "yes", ["yes", " "], LISTS) is None
