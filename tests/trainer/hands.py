"""Two invented people who write, each with a manner that is drawn by a seed."""

from __future__ import annotations

import random

from twin.turns import join_bubbles

WORDS = ["tea", "rain", "boat", "garden", "music", "bread", "window", "summer", "winter", "garlic"]


def lower(seed: int, count: int = 120) -> list[str]:
    """Short, lower case, in bursts, with a smile now and then."""
    draw = random.Random(seed)

    def bubble() -> str:
        return " ".join(draw.sample(WORDS, draw.randint(1, 3))) + draw.choice(["", "", " \U0001f600"])

    return [join_bubbles([bubble() for _ in range(draw.randint(1, 3))]) for _ in range(count)]


def formal(seed: int, count: int = 120) -> list[str]:
    draw = random.Random(seed)
    return [f"Dear colleague, regarding the {draw.choice(WORDS)}: I shall certainly consider this matter." for _ in range(count)]
