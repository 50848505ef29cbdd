"""Confidence: below which mean log-probability an answer is unsure. Measured on the holdout, for each adapter anew.

`twin evaluate` samples answers to messages that the adapter never saw; a fifth of them lie below the figure "unsure_below"
(trainer.evaluate). A figure of another adapter or of the base model says nothing, so without one nothing is called unsure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twin.settings import Settings


def threshold(metrics: Mapping[str, Any] | None, settings: Settings) -> float | None:
    """`metrics` are the active adapter's in the store (None: the base model answers). The setting auto.min_logprob wins."""
    if settings.auto.min_logprob is not None:
        return settings.auto.min_logprob
    found = (metrics or {}).get("holdout", {}).get("adapter", {}).get("unsure_below")
    return float(found) if isinstance(found, int | float) else None
