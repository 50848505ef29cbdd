"""One GPU that serves and trains: vLLM sleeps while the training has the card, or is stopped where it cannot sleep.

`twin serve` owns the server, so it is asked by a row (twin.engine_pause) to stop it and start it again. Messages that come
meanwhile wait. Whichever way it comes back, the active adapter is proven again before anybody is answered.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import structlog
from sqlalchemy.exc import OperationalError

from inference.promotion import prove
from twin import engine_pause
from twin.engine_pause import BEAT_SECONDS, SERVER, How
from twin.errors import EngineError, ModelError, StoreError
from twin.generator import ActiveAdapter
from twin.settings import Settings
from twin.store import adapters, facts, open_store

log = structlog.get_logger(__name__)

SLEEP_SECONDS = 300.0  # answers in flight end first
WAKE_SECONDS = 120.0
STOP_SECONDS = 60.0
START_SECONDS = 900.0
LOOK_SECONDS = 0.5


@contextmanager
def paused(settings: Settings, base: Path) -> Iterator[None]:
    """Within it the GPU is free, if the settings say that the engine pauses and the engine is a vLLM server that runs.

    Raises EngineError if the server neither sleeps nor can be stopped, or does not come back; ModelError if it comes back
    without its adapter.
    """
    if settings.engine.kind != "vllm" or settings.engine.during_training != "pause" or not _answers(settings):
        yield
        return
    with _Row(settings) as row:
        try:
            _give_way(settings, row)
            log.info("engine.paused", how=row.how)
            yield
        finally:
            _come_back(settings, base, row)
            log.info("engine.back")


def wake(settings: Settings) -> None:
    """POST /wake_up; harmless to a server that is awake. Raises EngineError."""
    response = _post(settings, "/wake_up", WAKE_SECONDS)
    if response.status_code != httpx.codes.OK:
        raise EngineError(f"vLLM does not wake up (HTTP {response.status_code}).", kind="refused", mend="Restart `twin serve`.")


class _Row:
    """The row that says that the engine is paused, kept fresh by a thread of its own.

    When the block ends it goes, unless the server may still be asleep: then it is left to go stale, which is the sign for
    others to wake it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="engine pause", daemon=True)
        self.how: How = "back"

    def __enter__(self) -> _Row:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()
        if self.how != "sleep":
            _on_store(self._settings, engine_pause.end)

    def say(self, how: How) -> None:
        with self._lock:
            self.how = how
            self._write()

    def _write(self) -> None:
        _on_store(self._settings, lambda connection: engine_pause.keep(connection, self.how, datetime.now(UTC)))

    def _keep(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                with self._lock:  # else an old word could be written over a new one
                    self._write()
            except (StoreError, OperationalError) as exc:  # busy; it takes nine of them in a row to go stale
                log.warning("engine.pause_not_kept", error=type(exc).__name__)


def _give_way(settings: Settings, row: _Row) -> None:
    row.say("sleep")
    try:
        # level 1: the weights wait in main memory; mode=wait: answers in flight end first
        if _post(settings, "/sleep?level=1&mode=wait", SLEEP_SECONDS).status_code == httpx.codes.OK:
            return
    except EngineError as exc:
        log.warning("engine.sleep_failed", kind=exc.kind)
    _on_store(settings, lambda connection: facts.forget(connection, SERVER))
    row.say("stop")
    if _wait(lambda: _server_state(settings) == "stopped", STOP_SECONDS):
        return
    try:
        wake(settings)  # it may have stopped taking requests before it failed to sleep
    except EngineError as exc:
        log.info("engine.not_woken", kind=exc.kind)
    row.say("back")
    raise EngineError(
        "The vLLM server cannot sleep, and no `twin serve` of this data folder is there to stop it.",
        kind="refused",
        mend="Start it with `twin serve`, or set TWIN_ENGINE__DURING_TRAINING=serve.",
    )


def _come_back(settings: Settings, base: Path, row: _Row) -> None:
    if row.how == "sleep":
        try:
            wake(settings)
        except EngineError as exc:
            if exc.kind != "unreachable":
                raise
            log.warning("engine.gone_while_asleep")  # with its `twin serve`; a new one waits until the card is free
    row.say("back")
    if not _wait(lambda: _answers(settings), START_SECONDS):
        raise EngineError("The vLLM server did not come back after the training.", kind="slow", mend="Look at the log of `twin serve`.")
    _prove_active(settings, base)


def _prove_active(settings: Settings, base: Path) -> None:
    active = _on_store(settings, adapters.active)
    if active is None:
        return
    try:
        asyncio.run(prove(settings, base, ActiveAdapter(active.name, active.path)))
    except ModelError:  # it woke up as the base model; the failed proof has unloaded the adapter, so this loads it anew
        log.warning("engine.woke_up_without_adapter", adapter=active.name)
        asyncio.run(prove(settings, base, ActiveAdapter(active.name, active.path)))


def _server_state(settings: Settings) -> str | None:
    row = _on_store(settings, lambda connection: facts.get(connection, SERVER))
    return str(row["state"]) if row else None


def _wait(look: Callable[[], bool], seconds: float) -> bool:
    deadline = datetime.now(UTC).timestamp() + seconds
    pause = threading.Event()
    while not look():
        if datetime.now(UTC).timestamp() > deadline:
            return False
        pause.wait(LOOK_SECONDS)
    return True


def _answers(settings: Settings) -> bool:
    try:
        url = f"{settings.engine.url.rstrip('/')}/health"
        return httpx.get(url, headers=_headers(settings), timeout=5.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _post(settings: Settings, path: str, seconds: float) -> httpx.Response:
    try:
        return httpx.post(f"{settings.engine.url.rstrip('/')}{path}", headers=_headers(settings), timeout=seconds, trust_env=False)
    except httpx.HTTPError as exc:
        kind: Any = "slow" if isinstance(exc, httpx.TimeoutException) else "unreachable"
        raise EngineError("The vLLM server did not answer.", kind=kind, mend="Look at the log of `twin serve`.") from exc


def _headers(settings: Settings) -> dict[str, str]:
    key = settings.engine.api_key
    return {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}


def _on_store(settings: Settings, work: Callable[[Any], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        store = open_store(settings.store_path)
        try:
            async with store.begin() as connection:
                return await work(connection)
        finally:
            await store.dispose()

    return asyncio.run(run())
