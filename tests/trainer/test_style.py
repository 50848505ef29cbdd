"""Manner is measured: alike is near 1, unlike is lower, and the verifier knows the hand."""

from __future__ import annotations

import random

import pytest

from trainer.style import MEASURES, learn
from twin.turns import join_bubbles

WORDS = ["tea", "rain", "boat", "garden", "music", "bread", "window", "summer", "winter", "garlic"]


def lower(seed: int, count: int = 120) -> list[str]:
    """Short, lower case, in bursts, with a smile now and then."""
    draw = random.Random(seed)

    def bubble() -> str:
        return " ".join(draw.sample(WORDS, draw.randint(1, 3))) + draw.choice(["", "", " \U0001f600"])

    return [join_bubbles([bubble() for _ in range(draw.randint(1, 3))]) for _ in range(count)]


def formal(seed: int, count: int = 120) -> list[str]:
    draw = random.Random(seed)
    return [f"Dear colleague, regarding the {draw.choice(WORDS)}: I shall certainly consider this matter." for _ in range(count)]


@pytest.fixture(scope="module")
def likeness():
    return learn(lower(1), formal(2), held_out=(lower(3, 40), formal(4, 40)))


def test_what_is_alike_is_near_one_and_what_is_not_is_lower_in_every_measure(likeness):
    same, other = likeness.measure(lower(5, 60)), likeness.measure(formal(6, 60))
    for measure in MEASURES:
        assert same[f"style_{measure}"] > 0.85 or measure == "authorship", measure
        assert same[f"style_{measure}"] > other[f"style_{measure}"], measure
        assert 0 <= same[f"style_{measure}_error"] < 0.1
    assert same["style"] > other["style"] + 0.3


def test_the_verifier_tells_two_hands_apart(likeness):
    assert likeness.auc > 0.95


def test_two_of_one_hand_cannot_be_told_apart():
    found = learn(lower(1), lower(2), held_out=(lower(3), lower(4)))
    assert found.auc == pytest.approx(0.5, abs=0.12)


def test_the_same_replies_give_the_same_figures(likeness):
    assert likeness.measure(lower(5, 60)) == likeness.measure(lower(5, 60))


def test_with_too_few_replies_nobodys_hand_is_told():
    found = learn(lower(1, 5), formal(2, 5), held_out=(lower(3, 5), formal(4, 5)))
    assert found.auc is None
    measured = found.measure(lower(5, 5))
    assert "style_authorship" not in measured
    assert 0 < measured["style"] <= 1


def test_an_empty_answer_is_measured_too(likeness):
    assert likeness.measure([""])["style_length"] < 0.5
