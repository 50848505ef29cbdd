"""The picture of a night's result: how the loss went, and the candidate beside what is live. For a phone's width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

INK, SOFT, GRID = "#1d2733", "#6b7a8c", "#e6ebf1"
GOOD, BAD = "#1f8a4c", "#b3442f"
LOSS_DIGITS = 3
TITLE, LARGE, SMALL = 42, 27, 24  # points, at 100 a inch
LIVE, NEW, TRAIN, BEST, CHECKED = "#9fb2c8", "#2f6db3", "#c5d0dd", "#d9662b", "#7a4fb5"
VERDICTS = {
    "promoted": ("The new adapter is live", GOOD),
    "waiting": ("Passed, waiting for you", NEW),
    "refused": ("The old adapter stays", BAD),
}
LOSSES = (("loss", "unseen replies"), ("anchor_loss", "older talks"), ("generic_loss", "general text"))
SHARES = (("context_choice", "fits what it answers"), ("distinct", "different answers"), ("style", "style like yours"))


def draw_card(path: Path, night: Mapping[str, Any]) -> None:
    """A PNG of 1200 x 1280 pixels from a run folder's manifest that has figures. It shows numbers only, no words of anybody.

    A chat shows it about 300 points wide, so the smallest letters are 1/35 of its width high.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 12.8), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    title, colour = VERDICTS[night["outcome"]]
    figure.text(0.05, 0.945, title, fontsize=TITLE, fontweight="bold", color=colour)
    figure.text(0.05, 0.903, _subtitle(night), fontsize=LARGE, color=SOFT)
    live, new, owner = _sides(night)
    _curve(figure.add_axes((0.12, 0.665, 0.83, 0.165)), night.get("curve") or {"train": [], "validation": []})
    _bars(figure.add_axes((0.05, 0.352, 0.90, 0.225)), LOSSES, live, new, {}, "Loss, nats a token: shorter is better", digits=LOSS_DIGITS)
    _bars(figure.add_axes((0.05, 0.068, 0.90, 0.225)), SHARES, live, new, owner, "Share: longer is better", digits=2)
    keys = [(LIVE, "live adapter" if night["parent"] else "base model"), (NEW, "new adapter"), *([(BEST, "you yourself")] if owner else [])]
    for place, (tint, name) in enumerate(keys):
        figure.text(0.05 + 0.32 * place, 0.02, "■", fontsize=LARGE, color=tint)
        figure.text(0.09 + 0.32 * place, 0.02, name, fontsize=LARGE, color=INK)
    figure.savefig(path)


def _subtitle(night: Mapping[str, Any]) -> str:
    mixture = night.get("mixture") or {}
    learned = f"{mixture['new_targets']:,} new replies" if "new_targets" in mixture else ""
    kind = "goes on from the live one" if night["kind"] == "incremental" else "from the base model"
    return " · ".join(part for part in (kind, learned) if part)


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
        axes.plot([s for s, _ in validation], [v for _, v in validation], "o-", color=CHECKED, linewidth=3, markersize=9)
    axes.set_title("Loss while training", loc="left", fontsize=LARGE, color=INK, pad=10, fontweight="bold")
    axes.tick_params(labelsize=SMALL, colors=SOFT, length=0)
    axes.locator_params(axis="y", nbins=4)
    axes.locator_params(axis="x", nbins=6, integer=True)
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)
    if validation:
        best = f"validation, best {min(v for _, v in validation):.3f}"
        axes.text(1, 1.07, best, fontsize=SMALL, color=CHECKED, ha="right", transform=axes.transAxes)
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
    for place, (name, label) in enumerate(shown):
        values = f"{live[name]:.{digits}f} → {new[name]:.{digits}f}"
        axes.text(0, -place + 0.32, label, va="center", fontsize=SMALL, color=INK)
        axes.text(most, -place + 0.32, values, va="center", ha="right", fontsize=SMALL, color=SOFT)
        for shift, side, colour in ((0.03, live, LIVE), (-0.22, new, NEW)):
            axes.barh(-place + shift, side[name], height=0.23, color=colour)
        change = round(new[name] - live[name], digits)
        better = change < 0 if digits == LOSS_DIGITS else change > 0
        tint = SOFT if not change else GOOD if better else BAD
        said = f"{change:+.{digits}f}" if change else "same"
        axes.text(most * 1.03, -place - 0.1, said, va="center", fontsize=LARGE, color=tint, fontweight="bold")
        if name in owner:
            axes.plot([owner[name]] * 2, [-place - 0.39, -place + 0.20], color=BEST, linewidth=6)
    axes.set_yticks([])
    axes.set_xticks([])
    axes.set_xlim(0, most * 1.22)
    axes.set_ylim(0.52 - max(1, len(shown)), 0.55)
    axes.set_title(title, loc="left", fontsize=LARGE, color=INK, pad=6, fontweight="bold")
    _bare(axes)


def _bare(axes: Any) -> None:
    for side in axes.spines.values():
        side.set_visible(False)
