"""What an evaluation measures, invented: a model that is as good or as bad as a test needs."""

from __future__ import annotations

import random
from typing import Any

from trainer.style import MEASURES

OWNER = {"verbatim": 0.02}


def figures(
    shift: float = 0.0, *, anchor: float = 0.0, noise: float = 0.0, seed: int = 1, chosen: float = 0.8, **more: Any
) -> dict[str, Any]:
    """A model on 100 items of 10 tokens; `shift` and `anchor` are nats a token above 3.5."""
    draw, wobble = random.Random(7), random.Random(seed)
    items = [(10, 10 * (3.5 + shift + draw.gauss(0, 0.5) + wobble.gauss(0, noise)), i < 100 * chosen) for i in range(100)]
    anchors = [(10, 10 * (3.5 + anchor + draw.gauss(0, 0.5) + wobble.gauss(0, noise))) for _ in range(60)]
    return {
        "loss": round(sum(n for _, n, _ in items) / 1000, 4),
        "items": items,
        "anchor_loss": round(sum(n for _, n in anchors) / 600, 4),
        "anchors": anchors,
        "context_choice": chosen,
        "distinct": 0.96,
        "distinct_error": 0.03,
        "generic_loss": 1.9,
        "verbatim": 0.0,
        "verbatim_count": 0,
        "verbatim_of": 50,
        **{f"style_{m}": 0.9 for m in MEASURES},
        **{f"style_{m}_error": 0.02 for m in MEASURES},
        **more,
    }
