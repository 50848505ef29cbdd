"""The seam between the twin and a language model: one request, one reply."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from twin.turns import Turn


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. `temperature` 0 is greedy. The defaults are those of the settings (`engine.*`)."""

    temperature: float = 0.7
    top_p: float = 0.9
    max_new_tokens: int = 64
    seed: int | None = None


@dataclass(frozen=True)
class Generated:
    """One reply. `text` is a turn (bubbles joined by `twin.turns.join_bubbles`), stripped, never with special tokens.

    `mean_logprob` is the mean natural-log probability of the generated tokens under the unmodified distribution
    (temperature 1), None when the engine does not give it; `tokens` counts them; `adapter` is the adapter that
    generated, None for the base model.
    """

    text: str
    tokens: int
    mean_logprob: float | None
    adapter: str | None


@dataclass(frozen=True)
class ActiveAdapter:
    """A sealed adapter folder and the name it is served under."""

    name: str
    path: Path


class Generator(Protocol):
    """Two engines implement it: `inference.local.LocalGenerator` and `inference.vllm.VllmGenerator`."""

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling) -> Generated:
        """Continue `turns` (system first, the contact's turn last) with one owner's turn. Raises EngineError."""
        ...

    async def use(self, adapter: ActiveAdapter | None) -> None:
        """Answer with this adapter from now on (None: the base model). Raises EngineError or ModelError.

        Saying it again costs next to nothing, and brings the adapter back where the engine was restarted and lost it.
        """
        ...

    async def close(self) -> None: ...
