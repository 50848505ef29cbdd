"""Pictures of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def draw_loss_curve(path: Path, training: Sequence[tuple[int, float]], validation: Sequence[tuple[int, float]]) -> None:
    """Loss (nats a token) over optimiser steps as a PNG of 1000 x 600 pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([s for s, _ in training], [v for _, v in training], color="#b9c6d6", linewidth=1, label="training, each step")
    smooth = []
    for i in range(len(training)):
        window = [v for _, v in training[max(0, i - 9) : i + 1]]
        smooth.append(sum(window) / len(window))
    axes.plot([s for s, _ in training], smooth, color="#2f6db3", linewidth=2, label="training, mean of 10")
    if validation:
        axes.plot([s for s, _ in validation], [v for _, v in validation], "o-", color="#d9662b", linewidth=2, label="validation")
        best = min(validation, key=lambda point: point[1])
        axes.annotate(f"best {best[1]:.3f}", best, textcoords="offset points", xytext=(0, -18), ha="center", color="#d9662b")
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("loss, nats a token")
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)
