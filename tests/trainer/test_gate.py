"""Who goes live: better or as good with something new, and worse at nothing that matters."""

from __future__ import annotations

from typing import Any

import pytest
from gate_figures import OWNER, figures

from trainer.gate import Verdict, judge
from twin.settings import Gate


def verdict(
    new: dict[str, Any], live: dict[str, Any] | None = None, *, new_targets: int = 100, base: dict[str, Any] | None = None, **gate: float
) -> Verdict:
    found = {"base": base or figures(0.5, anchor=0.5), "owner": OWNER, "new": new} | ({"live": live} if live else {})
    return judge(found, candidate="new", live="live" if live else None, gate=Gate(**gate), new_targets=new_targets)


def failed(found: Verdict) -> list[str]:
    return [check.name for check in found.checks if not check.holds]


def why(found: Verdict, name: str) -> str:
    return next(check.why for check in found.checks if check.name == name)


def flat(loss: float, *, anchors: int = 60) -> dict[str, Any]:
    """All replies alike, so that nothing is chance."""
    return figures(items=[(10, 10 * loss, i < 80) for i in range(100)], loss=loss, anchors=[(10, 35.0)] * anchors, anchor_loss=3.5)


def test_better_by_the_margin_goes_live():
    found = verdict(figures(-0.05), figures())
    assert found.passed
    assert "0.050 nats a token better" in found.line


def test_as_good_goes_live_only_with_something_new_in_it():
    same = figures(0.004, noise=0.05, seed=2)
    assert verdict(same, figures(), new_targets=50).passed
    found = verdict(same, figures(), new_targets=0)
    assert failed(found) == ["loss"]
    assert "nothing new was learned, so 0.01 less is asked" in found.line
    assert "no worse is asked" in why(verdict(same, figures(), new_targets=1), "loss")


def test_worse_beyond_the_error_stays_out():
    assert failed(verdict(figures(0.05), figures())) == ["loss"]


@pytest.mark.parametrize(("errors_lost", "passes"), [(2.4, True), (2.7, False)])
def test_of_nine_measures_one_may_seem_to_fall_by_chance(errors_lost: float, passes: bool) -> None:
    error = 0.02 * 2**0.5  # of the difference of two figures
    found = verdict(figures(-0.05, style_case=0.9 - errors_lost * error), figures())
    assert failed(found) == ([] if passes else ["style_case"])


def test_the_newest_replies_must_look_like_the_owners() -> None:
    """A night of nonsense that harms nothing else: its slice is strange to the live adapter, though less so to who has learned it."""
    live, new = figures(0.9), figures(0.75, anchor=-0.01, noise=0.02)
    found = verdict(new, live)
    assert failed(found) == ["familiar"]
    assert "do not look like yours" in found.line
    assert verdict(figures(0.25), figures(0.3)).passed, "another topic is stranger too, and may be learned"


def test_rubbish_that_fits_the_newest_slice_is_refused_for_what_it_forgot():
    found = verdict(figures(-0.4, anchor=0.08, noise=0.05), figures())
    assert failed(found) == ["anchor_loss"]
    assert "older conversations" in found.line


@pytest.mark.parametrize(
    ("spoilt", "name"),
    [
        ({"chosen": 0.6}, "context_choice"),
        ({"distinct": 0.7}, "distinct"),
        ({"style_case": 0.8}, "style_case"),
        ({"style_authorship": 0.8}, "style_authorship"),
        ({"generic_loss": 1.96}, "generic_loss"),
        ({"verbatim": 0.2, "verbatim_count": 10}, "verbatim"),
    ],
)
def test_a_fall_in_one_of_the_others_is_enough_to_stay_out(spoilt, name):
    found = verdict(figures(-0.1, **spoilt), figures())
    assert failed(found) == [name]
    assert not found.passed


def test_a_fall_within_the_error_is_none():
    assert verdict(figures(-0.1, style_case=0.86, distinct=0.93, generic_loss=1.94, verbatim=0.02, verbatim_count=1), figures()).passed


def test_the_first_has_only_the_base_to_beat():
    assert verdict(figures()).passed
    found = verdict(figures(0.6, anchor=0.5))
    assert failed(found) == ["loss"]
    assert "the base model stays" in found.line
    assert "live stays" in verdict(figures(0.05), figures()).line


def test_generic_text_is_held_against_the_base_and_not_against_the_live_one():
    base = figures(0.5, anchor=0.5, generic_loss=1.9)
    assert failed(verdict(figures(-0.1, generic_loss=1.97), figures(generic_loss=2.5), base=base)) == ["generic_loss"]


def test_without_older_conversations_no_worse_is_not_enough():
    def few(shift: float, **more: Any) -> dict[str, Any]:
        found = figures(shift, **more)
        found["anchors"] = []
        del found["anchor_loss"]
        return found

    assert verdict(few(-0.05), few(0.0)).passed
    found = verdict(few(0.004, noise=0.05, seed=2), few(0.0))
    assert failed(found) == ["anchor_loss"]
    assert "it has to be better" in found.line
    assert "it has to be better" not in why(verdict(few(-0.05), few(0.0)), "anchor_loss")


@pytest.mark.parametrize(("count", "is_enough"), [(4, False), (5, True)])
def test_five_older_replies_are_enough_to_say_whether_it_forgets(count: int, is_enough: bool) -> None:
    found = {check.name: check.threshold for check in verdict(flat(3.0, anchors=count), flat(3.5, anchors=count)).checks}
    assert [found[name] is not None for name in ("anchor_loss", "familiar")] == [is_enough, is_enough]


def test_a_gain_of_exactly_the_margin_is_better():
    found = verdict(flat(3.0, anchors=0), flat(3.5, anchors=0), new_targets=0, margin=0.5)
    assert failed(found) == []
    assert "0.500 nats a token better" in found.line
    assert failed(verdict(flat(3.0, anchors=0), flat(3.5, anchors=0), new_targets=0, margin=0.5001)) == ["loss", "anchor_loss"]


@pytest.mark.parametrize(
    ("name", "new", "live"),
    [
        ("familiar", {}, {"loss": 4.0, "anchor_loss": 3.5}),
        ("generic_loss", {"generic_loss": 1.95}, {}),
        ("verbatim", {"verbatim": 0.04, "verbatim_count": 2}, {}),
    ],
)
def test_what_lies_exactly_on_its_threshold_passes(name: str, new: dict[str, Any], live: dict[str, Any]) -> None:
    found = verdict(figures(-0.1, **new), figures(**live))
    (check,) = [check for check in found.checks if check.name == name]
    assert check.candidate == check.threshold
    assert check.holds


def test_the_error_of_a_difference_is_the_one_against_what_is_live():
    """Two figures of the same items differ by less than their own errors say."""
    sharp, blunt = {"style_case": 0.001}, {"style_case": 0.5}
    fallen = figures(-0.05, style_case=0.89, difference_errors={"live": sharp, "base": blunt})
    assert failed(verdict(fallen, figures())) == ["style_case"]
    assert failed(verdict(fallen)) == []
    assert failed(verdict(fallen | {"difference_errors": {"live": blunt, "base": sharp}}, figures())) == []
    assert failed(verdict(fallen | {"difference_errors": {"live": blunt, "base": sharp}})) == ["style_case"]


@pytest.mark.parametrize(
    ("name", "spoilt", "words"),
    [("anchor_loss", {"anchor": 0.5}, ": it forgets"), ("style_case", {"style_case": 0.5}, ", so it fell")],
)
def test_only_what_failed_is_said_to_be_worse(name: str, spoilt: dict[str, Any], words: str) -> None:
    assert words in why(verdict(figures(-0.1, **spoilt), figures()), name)
    assert words not in why(verdict(figures(-0.1), figures()), name)


def test_every_check_names_its_numbers():
    for check in verdict(figures(-0.05), figures()).checks:
        assert check.candidate is not None
        assert check.live is not None
        assert check.threshold is not None
        assert check.why
