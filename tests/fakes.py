"""Stand-ins that keep state, for tests of the parts around them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from twin.errors import EngineError, ModelError
from twin.generator import ActiveAdapter, Generated, Sampling
from twin.turns import Turn


@dataclass
class FakeGenerator:
    """A Generator that answers what was enqueued, in order, and then `default`. `history` keeps every request it answered or failed.

    >>> fake.enqueue("on my way", EngineError("down", kind="unreachable"), "there now")
    """

    default: str = "ok"
    adapter: ActiveAdapter | None = None
    history: list[tuple[tuple[Turn, ...], Sampling]] = field(default_factory=list)
    used: list[ActiveAdapter | None] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)  # names of adapters that `use` refuses
    is_closed: bool = False
    _queue: deque[str | EngineError] = field(default_factory=deque)

    def enqueue(self, *answers: str | EngineError) -> None:
        self._queue.extend(answers)

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling) -> Generated:
        self.history.append((turns, sampling))
        answer = self._queue.popleft() if self._queue else self.default
        if isinstance(answer, EngineError):
            raise answer
        return Generated(
            text=answer, tokens=len(answer.split()) + 1, mean_logprob=-1.0, adapter=self.adapter.name if self.adapter else None
        )

    async def use(self, adapter: ActiveAdapter | None) -> None:
        if adapter == self.adapter:
            return
        if adapter and adapter.name in self.refused:
            raise ModelError(f"Adapter {adapter.name} loads but changes nothing.")
        self.adapter = adapter
        self.used.append(adapter)

    async def close(self) -> None:
        self.is_closed = True
