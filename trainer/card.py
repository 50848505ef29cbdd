"""The picture of a night's result: how the loss went, and the candidate beside what is live. For a phone's width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

INK, SOFT, GRID = "#1d2733", "#6b7a8c", "#e6ebf1"
GOOD, BAD = "#1f8a4c", "#b3442f"
LOSS_DIGITS = 3
LIVE, NEW, TRAIN, BEST = "#9fb2c8", "#2f6db3", "#c5d0dd", "#d9662b"
VERDICTS = {
    "promoted": ("Live since this night", GOOD),
    "waiting": ("Passed, waiting for you", NEW),
    "refused": ("Not good enough, the old one stays", BAD),
}
LOSSES = (("loss", "unseen replies"), ("anchor_loss", "older talks"), ("generic_loss", "general text"))
SHARES = (("context_choice", "fits what it answers"), ("distinct", "different answers"), ("style", "style like yours"))


def draw_card(path: Path, night: Mapping[str, Any]) -> None:
    """A PNG of 1200 x 1280 pixels from a run folder's manifest that has figures. It shows numbers only, no words of anybody."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 12.8), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    title, colour = VERDICTS[night["outcome"]]
    figure.text(0.06, 0.955, title, fontsize=34, fontweight="bold", color=colour)
    figure.text(0.06, 0.918, _subtitle(night), fontsize=20, color=SOFT)
    live, new, owner = _sides(night)
    _curve(figure.add_axes((0.1, 0.60, 0.84, 0.265)), night.get("curve") or {"train": [], "validation": []})
    _bars(figure.add_axes((0.27, 0.335, 0.64, 0.185)), LOSSES, live, new, {}, "Loss, nats a token: shorter is better", digits=LOSS_DIGITS)
    _bars(figure.add_axes((0.27, 0.075, 0.64, 0.185)), SHARES, live, new, owner, "Share: longer is better", digits=2)
    named = "live adapter" if night["parent"] else "base model"
    figure.text(0.06, 0.022, "■", fontsize=22, color=LIVE)
    figure.text(0.09, 0.024, named, fontsize=18, color=INK)
    figure.text(0.32, 0.022, "■", fontsize=22, color=NEW)
    figure.text(0.35, 0.024, "new adapter", fontsize=18, color=INK)
    if owner:
        figure.text(0.58, 0.022, "┃", fontsize=20, color=BEST)
        figure.text(0.61, 0.024, "your own unseen replies", fontsize=18, color=INK)
    figure.savefig(path)


def _subtitle(night: Mapping[str, Any]) -> str:
    mixture = night.get("mixture") or {}
    learned = f"{mixture['new_targets']:,} new replies" if "new_targets" in mixture else ""
    kind = "gone on from the live adapter" if night["kind"] == "incremental" else "from the base model"
    return " · ".join(part for part in (kind, learned, f"{night['new_messages']:,} new messages") if part)


def _sides(night: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    figures = night["figures"]
    return figures[night["parent"] or "base"], figures[night["adapter"]], figures.get("owner", {})


def _curve(axes: Any, curve: Mapping[str, Sequence[Sequence[float]]]) -> None:
    train, validation = curve["train"], curve["validation"]
    steps, losses = [s for s, _ in train], [v for _, v in train]
    axes.plot(steps, losses, color=TRAIN, linewidth=2)
    width = max(1, len(losses) // 12)
    smooth = [sum(part) / len(part) for i in range(len(losses)) if (part := losses[max(0, i - width + 1) : i + 1])]
    axes.plot(steps, smooth, color=NEW, linewidth=4)
    if validation:
        axes.plot([s for s, _ in validation], [v for _, v in validation], "o-", color=BEST, linewidth=3, markersize=9)
    axes.set_title("Loss while training", loc="left", fontsize=21, color=INK, pad=12)
    axes.set_xlabel("steps", fontsize=17, color=SOFT)
    axes.tick_params(labelsize=16, colors=SOFT, length=0)
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)
    axes.text(1, 1.06, "training", fontsize=18, color=NEW, ha="right", transform=axes.transAxes)
    if validation:
        best = f"validation, best {min(v for _, v in validation):.3f}"
        axes.text(0.82, 1.06, best, fontsize=18, color=BEST, ha="right", transform=axes.transAxes)
    _bare(axes)


def _bars(
    axes: Any,
    rows: Sequence[tuple[str, str]],
    live: Mapping[str, Any],
    new: Mapping[str, Any],
    owner: Mapping[str, Any],
    title: str,
    *,
    digits: int,
) -> None:
    shown = [(name, label) for name, label in rows if name in live and name in new]
    most = max([1e-9, *(float(side[name]) for name, _ in shown for side in (live, new))])
    for place, (name, _) in enumerate(shown):
        for shift, side, colour, ink in ((0.2, live, LIVE, INK), (-0.2, new, NEW, "white")):
            axes.barh(-place + shift, side[name], height=0.36, color=colour)
            axes.text(most * 0.012, -place + shift, f"{side[name]:.{digits}f}", va="center", fontsize=17, color=ink)
        change = round(new[name] - live[name], digits)
        better = change < 0 if digits == LOSS_DIGITS else change > 0
        tint = SOFT if not change else GOOD if better else BAD
        axes.text(
            most * 1.02, -place, f"{change:+.{digits}f}" if change else "same", va="center", fontsize=19, color=tint, fontweight="bold"
        )
        if name in owner:
            axes.plot([owner[name]] * 2, [-place - 0.42, -place + 0.42], color=BEST, linewidth=4)
    axes.set_yticks([-i for i in range(len(shown))], [label for _, label in shown], fontsize=18, color=INK)
    axes.set_xticks([])
    axes.set_xlim(0, most * 1.16)
    axes.tick_params(length=0)
    axes.set_title(title, loc="left", fontsize=21, color=INK, pad=10)
    _bare(axes)


def _bare(axes: Any) -> None:
    for side in axes.spines.values():
        side.set_visible(False)
