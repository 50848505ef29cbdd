"""May this candidate go live? Figures of trainer.evaluate in, a verdict with every number and its threshold out.

Where an error is named it is one of the difference: of each item's own difference where both models were asked the same (which
is far tighter than two separate errors), else of both figures together. For losses it is two standard errors. Of what must
not fall there are nine, and each may seem to fall by chance: there it is so many standard errors that of candidates as good
as what they replace at most the share `gate.chance` is refused for any of them (Bonferroni; 2.5 for nine and one in twenty).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from trainer.style import MEASURES
from twin.settings import Gate

ERRORS = 2.0  # standard errors
FEWEST_ANCHORS = 5
WORDS = {
    "context_choice": "it fits replies to what they answer",
    "distinct": "its answers to different messages differ",
    "style_length": "its answers are as long as yours",
    "style_case": "it uses capitals as you do",
    "style_punctuation": "it ends and parts sentences as you do",
    "style_emoji": "it uses emoji as you do",
    "style_burst": "it splits answers into messages as you do",
    "style_vocabulary": "its words are yours",
    "style_authorship": "its answers pass for yours",
}


@dataclass(frozen=True)
class Check:
    """`candidate` and `live` are the figure's values (live: the base model's if no adapter is); `threshold` is the worst value
    that passes; `error` is what a difference may be by chance. None: it was not measured, or plays no part."""

    name: str
    candidate: float | None
    live: float | None
    threshold: float | None
    holds: bool
    why: str
    error: float | None = None


@dataclass(frozen=True)
class Verdict:
    """`line` is for the owner, in plain words."""

    passed: bool
    checks: tuple[Check, ...]
    line: str


def judge(figures: Mapping[str, Mapping[str, Any]], *, candidate: str, live: str | None, gate: Gate, new_targets: int) -> Verdict:
    """Hold the candidate's figures against the live adapter's; None: no adapter is live, so only the base is to beat."""
    new, old = figures[candidate], figures[live or "base"]
    rival = live or "the base model"
    gain, error = _gain(new["items"], old["items"])
    styles = [f"style_{m}" for m in MEASURES if f"style_{m}" in new and f"style_{m}" in old]
    kept = ("context_choice", "distinct", *styles)
    errors = NormalDist().inv_cdf(1 - gate.chance / len(kept))
    checks = (
        _loss(new, old, rival, gate, gain, error, new_targets),
        _anchor(new, old, rival, better=gain >= gate.margin),
        _familiar(old, rival, gate),
        *(_no_fall(name, new, old, rival, live or "base", errors) for name in kept),
        _generic(new, old, figures["base"], gate),
        _verbatim(new, old, figures["owner"]),
    )
    failed = [check for check in checks if not check.holds]
    if failed:
        return Verdict(False, checks, f"{candidate} does not go live, {rival} stays: {'; '.join(check.why for check in failed)}.")
    better = f"{gain:.3f} nats a token better than {rival} on replies that neither has seen"
    as_good = f"no worse than {rival} on replies that neither has seen, with {new_targets:,} new ones learned"
    return Verdict(True, checks, f"{candidate} passes: {better if gain >= gate.margin else as_good}, and it lost nothing else.")


def _loss(new: Mapping[str, Any], old: Mapping[str, Any], rival: str, gate: Gate, gain: float, error: float, new_targets: int) -> Check:
    if new_targets > 0:
        worst, asked = round(old["loss"] + error, 4), "no worse is asked"
    else:
        worst, asked = round(old["loss"] - gate.margin, 4), f"nothing new was learned, so {gate.margin} less is asked"
    said = f"on replies that neither has seen its loss is {new['loss']:.3f}, that of {rival} {old['loss']:.3f} ±{error:.3f}; {asked}"
    return Check("loss", new["loss"], old["loss"], worst, new["loss"] <= worst, said, round(error, 4))


def _anchor(new: Mapping[str, Any], old: Mapping[str, Any], rival: str, *, better: bool) -> Check:
    count = len(new["anchors"])
    if count < FEWEST_ANCHORS:
        said = f"{count} replies of older conversations are too few to say whether it forgets"
        said += "" if better else ", so on newer ones it has to be better, not only no worse"
        return Check("anchor_loss", new.get("anchor_loss"), old.get("anchor_loss"), None, better, said)
    error = _gain(new["anchors"], old["anchors"])[1]
    worst = round(old["anchor_loss"] + error, 4)
    holds = new["anchor_loss"] <= worst
    said = f"on older conversations its loss is {new['anchor_loss']:.3f}, that of {rival} {old['anchor_loss']:.3f} ±{error:.3f}"
    said += "" if holds else ": it forgets"
    return Check("anchor_loss", new["anchor_loss"], old["anchor_loss"], worst, holds, said, round(error, 4))


def _familiar(old: Mapping[str, Any], rival: str, gate: Gate) -> Check:
    """Whether the newest replies are the owner's at all. Who learns nonsense does better on more of it, and a little of it harms
    nothing that can be measured; but the live adapter, which never saw any of both, finds it far stranger than older replies. With the
    sample model shuffled words were 0.86 nats a token stranger than the anchor, four real nights -0.04 to 0.19."""
    if len(old["anchors"]) < FEWEST_ANCHORS:
        return Check("familiar", None, old["loss"], None, True, "too few older replies to say whether the newest are like them")
    stranger = round(old["loss"] - old["anchor_loss"], 4)
    error = ERRORS * math.hypot(_ratio_error(old["items"]), _ratio_error(old["anchors"]))
    most = round(max(gate.strangeness, error), 4)  # of few replies, not more than chance may do
    holds = stranger <= most
    said = f"the newest replies are {stranger:+.2f} nats a token stranger to {rival} than older ones; at most {most:.2f} is allowed"
    said += "" if holds else ": they do not look like yours"
    return Check("familiar", stranger, 0.0, most, holds, said, round(error, 4))


def _ratio_error(rows: Sequence[Sequence[Any]]) -> float:
    """Of a loss in nats a token over rows of (tokens, nats, ...): one standard error of a ratio of sums."""
    tokens: float = sum(row[0] for row in rows)
    loss = sum(row[1] for row in rows) / tokens
    return math.sqrt(sum((row[1] - loss * row[0]) ** 2 for row in rows)) / tokens


def _no_fall(name: str, new: Mapping[str, Any], old: Mapping[str, Any], rival: str, live: str, errors: float) -> Check:
    error = errors * _difference_error(name, new, old, live)
    worst = round(old[name] - error, 4)
    holds = new[name] >= worst
    said = f"{WORDS[name]}: {new[name]:.2f}, {rival} {old[name]:.2f} ±{error:.2f}" + ("" if holds else ", so it fell")
    return Check(name, new[name], old[name], worst, holds, said, round(error, 4))


def _difference_error(name: str, new: Mapping[str, Any], old: Mapping[str, Any], live: str) -> float:
    if name == "context_choice":  # only those items count on which the two part; if neither were better, each by a coin
        differences = [int(a[2]) - int(b[2]) for a, b in zip(new["items"], old["items"], strict=True)]
        return math.sqrt(sum(d * d for d in differences)) / len(differences)
    both: dict[str, float] = new.get("difference_errors", {}).get(live, {})
    return both[name] if name in both else math.hypot(new[f"{name}_error"], old[f"{name}_error"])


def _generic(new: Mapping[str, Any], old: Mapping[str, Any], base: Mapping[str, Any], gate: Gate) -> Check:
    mine, floor = new["generic_loss"], base["generic_loss"]
    most = round(floor + gate.generic_rise, 4)
    said = f"on general text its loss is {mine:.3f}, that of the base model {floor:.3f}; at most {most:.3f} is allowed"
    return Check("generic_loss", mine, old["generic_loss"], most, mine <= most, said)


def _verbatim(new: Mapping[str, Any], old: Mapping[str, Any], owner: Mapping[str, Any]) -> Check:
    """The owner repeats himself too, and one answer more or less is chance."""
    n, own = new["verbatim_of"], owner["verbatim"]
    error = ERRORS * math.sqrt(own * (1 - own) / n)
    most = max(1, math.floor((own + error) * n + 1e-9))
    said = f"{new['verbatim_count']} of its {n} likeliest answers are learned replies word for word; {most} are allowed"
    return Check("verbatim", new["verbatim"], old.get("verbatim"), round(most / n, 4), new["verbatim_count"] <= most, said, round(error, 4))


def _gain(new: Sequence[Sequence[Any]], old: Sequence[Sequence[Any]]) -> tuple[float, float]:
    """How many nats a token the new one is better on the same items, and the error of that (of a ratio of sums)."""
    tokens = sum(a[0] for a in new)
    gain = sum(b[1] - a[1] for a, b in zip(new, old, strict=True)) / tokens
    spread = sum((b[1] - a[1] - gain * a[0]) ** 2 for a, b in zip(new, old, strict=True))
    return gain, ERRORS * math.sqrt(spread) / tokens
