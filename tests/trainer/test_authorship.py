"""The verifier knows a hand by its letters, and by nothing that the renderer writes for contacts only."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest
from hands import WORDS, formal, lower

from trainer.authorship import FEW, area_under_curve, train_verifier
from twin.turns import join_bubbles


def test_two_hands_are_told_apart():
    verifier = train_verifier(lower(1), formal(2), (lower(3, 40), formal(4, 40)))
    assert verifier.auc > 0.99
    assert min(verifier.owner_chances(lower(5))) > 0.5 > max(verifier.owner_chances(formal(6)))


def test_two_of_one_hand_cannot_be_told_apart():
    assert train_verifier(lower(1), lower(2), (lower(3), lower(4))).auc == pytest.approx(0.5, abs=0.12)


def test_with_too_few_replies_of_one_side_there_is_no_verifier():
    assert train_verifier(lower(1, FEW - 1), formal(2), ([], [])) is None
    assert train_verifier(lower(1), [*formal(2, FEW - 1), "[voice]"], ([], [])) is None


def test_without_held_out_replies_of_one_side_there_is_no_auc():
    assert train_verifier(lower(1), formal(2), (lower(3), ["[voice]"])).auc is None


def test_nothing_written_is_a_coin():
    assert train_verifier(lower(1), formal(2), ([], [])).owner_chances(["", "[voice]"]) == [0.5, 0.5]


def test_a_very_long_reply_is_certain_and_no_error():
    verifier = train_verifier(lower(1), formal(2), ([], []))
    assert verifier.owner_chances([" ".join(lower(3, 5_000)), " ".join(formal(4, 5_000))]) == pytest.approx([1.0, 0.0])


def test_quotes_and_media_marks_give_no_contact_away():
    """The renderer writes them for contacts only; a verifier that saw them would know the side and not the hand."""
    marked = [join_bubbles([f"> {WORDS[i % 10]}\n{reply}", "[voice]"]) for i, reply in enumerate(lower(2))]
    plain = train_verifier(lower(1), lower(2), (lower(3), lower(4)))
    assert train_verifier(lower(1), marked, (lower(3), lower(4))) == plain
    assert plain.owner_chances(["> tea\\nrain\n[photo] boat"]) == plain.owner_chances(["rain\nboat"])


def test_another_process_gives_the_same_weights():
    """Strings hash differently in each process, so nothing may hang on the order of a set."""
    code = (
        "from hands import lower; from trainer.authorship import train_verifier;"
        "print(repr(train_verifier(lower(1), lower(2), (lower(3), lower(4)))))"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    asked = [sys.executable, "-c", code]
    said = {subprocess.run(asked, env=env | {"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout for seed in "12"}
    assert len(said) == 1


def test_the_area_under_the_curve_is_the_share_of_pairs_in_the_right_order():
    draw = random.Random(0)
    positive, negative = [[float(draw.randint(0, 9)) for _ in range(count)] for count in (40, 70)]
    pairs = [(a > b) + (a == b) / 2 for a in positive for b in negative]
    assert area_under_curve(positive, negative) == pytest.approx(sum(pairs) / len(pairs))
    assert area_under_curve([1.0, 2.0], [0.0]) == 1
    assert area_under_curve([1.0], [1.0, 1.0]) == 0.5
