"""How a long stage tells how far it is, without knowing who listens (a bar in the terminal, a message in Telegram)."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    def __call__(self, done: float, total: float | None, note: str = "") -> None:
        """`done` of `total` units (None: unknown how many); `note` is a short live figure, such as "loss 3.71"."""
        ...


def silent(done: float, total: float | None, note: str = "") -> None:
    """For callers who do not want to be told."""
