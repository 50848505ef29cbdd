"""May this candidate go live? Figures of trainer.evaluate in, a verdict with every number and its threshold out.

Where an error is named it is two standard errors, of the difference: of each item's own difference where both models were
asked the same (which is far tighter), else of both figures together. With ten checks one standard error would refuse most
candidates that are as good as what they replace.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.style import MEASURES
from twin.settings import Gate

ERRORS = 2.0  # standard errors
FEWEST_ANCHORS = 5


@dataclass(frozen=True)
class Check:
    """`candidate` and `live` are the figure's values (live: what it is held against); `threshold` is the worst value that passes."""

    name: str
    candidate: float | None
    live: float | None
    threshold: float | None
    holds: bool
    why: str


@dataclass(frozen=True)
class Verdict:
    """`line` is for the owner, in plain words."""

    passed: bool
    checks: tuple[Check, ...]
    line: str


def judge(figures: Mapping[str, Mapping[str, Any]], *, candidate: str, live: str | None, gate: Gate, new_targets: int) -> Verdict:
    """Hold the candidate's figures against the live adapter's; None: no adapter is live, so only the base is to beat."""
    new, old, base, owner = figures[candidate], figures[live or "base"], figures["base"], figures["owner"]
    loss = _loss(new, old, gate, new_targets)
    checks = (
        loss,
        _anchor(new, old, beaten=(old["loss"] - new["loss"]) >= gate.margin),
        _context_choice(new, old),
        _no_fall("distinct", "different answers to different messages", new, old),
        *(_no_fall(f"style_{m}", f"{m} like yours", new, old) for m in MEASURES if f"style_{m}" in new and f"style_{m}" in old),
        _generic(new, base, gate),
        _verbatim(new, owner),
    )
    failed = [check for check in checks if not check.holds]
    against = live or "the base model"
    if failed:
        return Verdict(False, checks, f"{candidate} does not go live, {against} stays: {'; '.join(check.why for check in failed)}.")
    gain = old["loss"] - new["loss"]
    better = (
        f"{gain:.3f} nats a token better than {against}"
        if gain >= gate.margin
        else f"no worse than {against}, with {new_targets} new replies"
    )
    return Verdict(True, checks, f"{candidate} passes: {better}, and nothing else fell.")


def _loss(new: Mapping[str, Any], old: Mapping[str, Any], gate: Gate, new_targets: int) -> Check:
    gain, error = _gain(new["items"], old["items"])
    worst = old["loss"] + error if new_targets else old["loss"] - gate.margin
    holds = gain >= gate.margin or (new_targets > 0 and gain >= -error)
    said = f"on unseen replies its loss is {new['loss']:.3f}, the live one's {old['loss']:.3f} (error of the difference {error:.3f})"
    return Check("loss", new["loss"], old["loss"], round(max(worst, old["loss"] - gate.margin), 4), holds, said)


def _anchor(new: Mapping[str, Any], old: Mapping[str, Any], *, beaten: bool) -> Check:
    if min(len(new["anchors"]), len(old["anchors"])) < FEWEST_ANCHORS:
        said = "there are too few older conversations to tell whether it forgets" + (
            "" if beaten else ", so it must be better, not only no worse"
        )
        return Check("anchor_loss", new.get("anchor_loss"), old.get("anchor_loss"), None, beaten, said)
    gain, error = _gain(new["anchors"], old["anchors"])
    said = f"on older conversations its loss is {new['anchor_loss']:.3f}, the live one's {old['anchor_loss']:.3f} (error {error:.3f})"
    return Check("anchor_loss", new["anchor_loss"], old["anchor_loss"], round(old["anchor_loss"] + error, 4), gain >= -error, said)


def _context_choice(new: Mapping[str, Any], old: Mapping[str, Any]) -> Check:
    """The same items, so the error counts only those on which the two part."""
    differences = [int(a[2]) - int(b[2]) for a, b in zip(new["items"], old["items"], strict=True)]
    n = len(differences)
    mean = sum(differences) / n
    error = ERRORS * math.sqrt(sum((d - mean) ** 2 for d in differences)) / n
    said = f"it chooses the right context for {new['context_choice']:.2f}, the live one for {old['context_choice']:.2f} (error {error:.2f})"
    return Check(
        "context_choice", new["context_choice"], old["context_choice"], round(old["context_choice"] - error, 4), mean >= -error, said
    )


def _no_fall(name: str, words: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> Check:
    error = ERRORS * math.hypot(new[f"{name}_error"], old[f"{name}_error"])
    said = f"{words}: {new[name]:.2f}, the live one's {old[name]:.2f} (error {error:.2f})"
    return Check(name, new[name], old[name], round(old[name] - error, 4), new[name] >= old[name] - error, said)


def _generic(new: Mapping[str, Any], base: Mapping[str, Any], gate: Gate) -> Check:
    mine, floor = new["generic_loss"], base["generic_loss"]
    most = floor + gate.generic_rise
    said = f"on general text its loss is {mine:.3f}, the base model's {floor:.3f}; at most {most:.3f} is allowed"
    return Check("generic_loss", mine, floor, round(most, 4), mine <= most, said)


def _verbatim(new: Mapping[str, Any], owner: Mapping[str, Any]) -> Check:
    """He repeats himself too, and one answer more or less is chance."""
    n, own = new["verbatim_of"], owner["verbatim"]
    most = max(own + ERRORS * math.sqrt(own * (1 - own) / n), 1 / n)
    said = f"{new['verbatim_count']} of {n} likeliest answers are trained replies word for word; {most:.2f} of them are allowed"
    return Check("verbatim", new["verbatim"], own, round(most, 4), new["verbatim"] <= most, said)


def _gain(new: Sequence[Sequence[Any]], old: Sequence[Sequence[Any]]) -> tuple[float, float]:
    """How many nats a token the new one is better on the same items, and the error of that."""
    tokens = sum(a[0] for a in new)
    gain = sum(b[1] - a[1] for a, b in zip(new, old, strict=True)) / tokens
    spread = sum((b[1] - a[1] - gain * a[0]) ** 2 for a, b in zip(new, old, strict=True))
    return gain, ERRORS * math.sqrt(spread) / tokens
