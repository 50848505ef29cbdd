"""Manner is measured: alike is near 1, unlike is lower."""

from __future__ import annotations

import pytest
from hands import formal, lower

from trainer.style import LOOKS, MEASURES, learn


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


def test_the_same_replies_give_the_same_figures(likeness):
    assert likeness.measure(lower(5, 60)) == likeness.measure(lower(5, 60))


def test_with_too_few_replies_nobodys_hand_is_told():
    found = learn(lower(1, 5), formal(2, 5), held_out=(lower(3, 5), formal(4, 5)))
    assert found.verifier is None
    measured = found.measure(lower(5, 5))
    assert "style_authorship" not in measured
    assert 0 < measured["style"] <= 1


def test_an_empty_answer_is_measured_too(likeness):
    assert likeness.measure([""])["style_length"] < 0.5


def test_models_that_speak_alike_differ_by_no_more_than_the_error_says(likeness):
    """Two standard errors hold about 95 of 100 pairs of one hand; another hand is far beyond them."""
    beyond = 0
    for seed in range(10, 30, 2):
        one, other = lower(seed, 50), lower(seed + 1, 50)
        errors = likeness.difference_errors(one, other)
        a, b = likeness.measure(one), likeness.measure(other)
        beyond += sum(abs(a[name] - b[name]) > 2 * error for name, error in errors.items())
    assert beyond <= 7  # of 70
    errors, strange = likeness.difference_errors(lower(10, 50), formal(6, 50)), likeness.measure(formal(6, 50))
    told_apart = [name for name, error in errors.items() if likeness.measure(lower(10, 50))[name] - strange[name] > 2 * error]
    assert len(told_apart) == len(MEASURES)


def test_a_rare_habit_that_one_of_two_shows_by_chance_is_within_the_error(likeness):
    """Two emoji in fifty answers beside none: the error is of both together, since who showed none seems to have no error."""
    plain = ["tea and rain"] * 50
    found = likeness.difference_errors(["tea and rain \U0001f600"] * 2 + plain[2:], plain)
    one, none = likeness.measure(["tea and rain \U0001f600"] * 2 + plain[2:]), likeness.measure(plain)
    assert none["style_emoji_error"] == 0
    assert 0 < one["style_emoji"] - none["style_emoji"] < 2 * found["style_emoji"]


@pytest.mark.parametrize(
    ("measure", "reply", "keys"),
    [
        ("length", "well, I do not know", ["5"]),
        ("length", "", ["0"]),
        ("case", "Yes\nno\nNEVER\niPhone\n123", ["begins", "lower", "capitals", "inside", "none"]),
        ("punctuation", "yes.\nwell, no\nwhy?!\nhm...\nfine :)", [".", "none after a comma", "!", "...", "none"]),
        ("emoji", "fine \U0001f600\U0001f600", ["2"]),
        ("emoji", "fine :) © 20°", ["0 and a smiley"]),
        ("burst", "one\ntwo\nthree", ["3"]),
    ],
)
def test_what_is_looked_at(measure, reply, keys):
    assert LOOKS[measure](reply) == keys
