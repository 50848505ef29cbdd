"""Generation in this process, with transformers and PEFT: the default where no server is set up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from inference.prompting import fit_prompt
from twin.errors import EngineError
from twin.generator import ActiveAdapter, Generated, Sampling
from twin.turns import Turn

if TYPE_CHECKING:
    from inference.local_model import LocalModel

T = TypeVar("T")


class Stop:
    """Asked after every token: is this reply still wanted? Set by a cancelled caller, by `close` and by the clock."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._unwanted = threading.Event()

    def set(self) -> None:
        self._unwanted.set()

    @property
    def is_late(self) -> bool:
        return time.monotonic() >= self._until

    def __call__(self) -> bool:
        return self._unwanted.is_set() or self.is_late


class LocalGenerator:
    """One reply at a time, in one worker thread. The model is loaded at the first use; its memory is given back by `close`."""

    def __init__(self, base: Path, *, seconds: float, max_prompt_tokens: int) -> None:
        self._base = base
        self._seconds = seconds
        self._max_prompt_tokens = max_prompt_tokens
        self._model: LocalModel | None = None
        self._adapter: ActiveAdapter | None = None
        self._running: Stop | None = None
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="local-engine")

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling) -> Generated:
        async with self._lock:
            model = await self._loaded()
            self._running = stop = Stop(self._seconds)
            try:
                return await self._in_thread(lambda: self._generate(model, turns, sampling, stop), stop)
            finally:
                self._running = None

    async def use(self, adapter: ActiveAdapter | None) -> None:
        async with self._lock:
            if adapter == self._adapter:
                return
            model = await self._loaded()
            await self._in_thread(lambda: model.use(adapter))
            self._adapter = adapter

    async def close(self) -> None:
        if self._running:
            self._running.set()
        async with self._lock:
            self._model = self._adapter = None
            self._thread.shutdown(wait=False)

    async def _loaded(self) -> LocalModel:
        if self._model is None:
            from inference.local_model import LocalModel

            self._model = await self._in_thread(lambda: LocalModel(self._base))
        return self._model

    def _generate(self, model: LocalModel, turns: tuple[Turn, ...], sampling: Sampling, stop: Stop) -> Generated:
        ids = fit_prompt(model.renderer, turns, self._max_prompt_tokens)
        tokens, logprobs = model.generate(ids, sampling, stop)
        if stop():
            if stop.is_late:
                raise EngineError(
                    f"No answer within {self._seconds:g} seconds.",
                    kind="slow",
                    mend="Raise TWIN_ENGINE__SECONDS, lower TWIN_ENGINE__MAX_NEW_TOKENS or use a smaller model.",
                )
            raise EngineError("The engine was closed before the answer was ready.", kind="unreachable")
        return Generated(
            text=model.renderer.text(tokens),
            tokens=len(tokens),
            mean_logprob=sum(logprobs) / len(logprobs) if logprobs else None,
            adapter=self._adapter.name if self._adapter else None,
        )

    async def _in_thread(self, work: Callable[[], T], stop: Stop | None = None) -> T:
        """Run in the worker thread. A cancelled caller stops the work and waits until the thread has really ended it."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if stop:
                stop.set()
                await asyncio.wait([future])
            future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody waits for it any more
            raise
