"""The data folder: settings, store, the lock that lets one training run at a time."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import IO, TypeVar

import structlog
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.cli.logs import log_to
from twin.errors import FloodError, StoreError, TwinError
from twin.foreseen import foreseen
from twin.settings import Settings, load_settings
from twin.store import facts, open_store, runs

log = structlog.get_logger()
Result = TypeVar("Result")

BEAT_SECONDS = 15.0
WRITE_SECONDS = 2.0
# Who has started this process ends it himself, with a signal, as soon as he has written that he asks for it: two interruptions
# would cut the end in order short.
STOP_GRACE = timedelta(seconds=5)
TRIES, TRY_SECONDS = 5, 0.05  # for the lock
DATASET = "dataset"  # the fact that names the dataset built last


def open_folder(data: Path | None, *, log_to_stderr: bool = False) -> Settings:
    """Settings from the environment and ./.env, for the folder `data` if given. From here on events go to its log."""
    settings = load_settings(data=data) if data else load_settings()
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    log_to(settings.data, also_to_stderr=log_to_stderr)
    return settings


def transact(settings: Settings, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    """Do `work` in one transaction on the store. Raises StoreError if another program keeps it locked, or it cannot be used."""

    async def run() -> Result:
        store = open_store(settings.store_path)
        try:
            async with store.begin() as connection:
                return await work(connection)
        finally:
            await store.dispose()

    try:
        return asyncio.run(run())
    except (DatabaseError, sqlite3.Error, OSError) as exc:
        raise foreseen(exc, settings.data) or exc from exc


def utc_now() -> datetime:
    return datetime.now(UTC)


def datasets_path(settings: Settings) -> Path:
    return settings.data / "datasets"


def current_dataset(settings: Settings) -> Path:
    """The dataset built last. Raises TwinError if there is none."""
    name = transact(settings, lambda connection: facts.get(connection, DATASET))
    folder = datasets_path(settings) / str(name)
    if name is None or not (folder / "manifest.json").exists():
        raise TwinError("There is no dataset yet.", mend="Build one with `twin dataset`.")
    return folder


class Training:
    """A run in progress: tells the store which stage it is in, how far, and that it is alive.

    A thread of its own writes, so the run can be told of from anywhere, and a stage that is silent for minutes is alive too.
    """

    def __init__(self, settings: Settings, run_id: str) -> None:
        self.run_id = run_id
        self.detail: dict[str, object] = {}
        self._settings = settings
        self._began: list[tuple[str, float]] = []
        self._told: tuple[float, float | None, str] = (0.0, None, "")
        self._wake = threading.Event()
        self._ended = False
        self._interrupted = False
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def stage(self, name: str) -> None:
        self._began.append((name, time.monotonic()))
        self._told = (0.0, None, "")
        self._wake.set()

    def progress(self, done: float, total: float | None, note: str = "") -> None:
        """Cheap to call often: it is written every WRITE_SECONDS."""
        self._told = (done, total, note)

    def stages(self) -> list[dict[str, object]]:
        """Name and seconds of each stage, the last one up to now."""
        ends = [began for _, began in self._began[1:]] + [time.monotonic()]
        return [{"name": name, "seconds": round(end - began, 1)} for (name, began), end in zip(self._began, ends, strict=True)]

    def __enter__(self) -> Training:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._wake.set()
        self._thread.join()

    def _beat(self) -> None:
        async def keep() -> None:
            store = open_store(self._settings.store_path)
            written, written_at = None, 0.0
            try:
                while True:
                    ended = self._ended
                    done, total, note = self._told
                    name = self._began[-1][0] if self._began else ""
                    told = (name, done, total, note)
                    if ended or told != written or time.monotonic() - written_at >= BEAT_SECONDS:
                        row = {"stage": name, "done": done, "total": total, "note": note, "stages": self.stages() if name else []}
                        try:
                            async with store.begin() as connection:
                                await runs.beat(connection, self.run_id, name, utc_now(), row)
                            written, written_at = told, time.monotonic()
                        except (StoreError, DatabaseError) as exc:  # busy: the training itself goes on
                            log.warning("run.beat_not_kept", error=type(exc).__name__)
                    if ended:
                        return
                    async with store.connect() as connection:
                        if not self._interrupted and await runs.is_asked_to_stop(connection, self.run_id, utc_now() - STOP_GRACE):
                            self._interrupted = True
                            os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C here would: the main thread ends in order
                    await asyncio.to_thread(self._wake.wait, WRITE_SECONDS)
                    self._wake.clear()
            finally:
                await store.dispose()

        asyncio.run(keep())


@contextmanager
def training(settings: Settings, kind: str, *, trigger: str = "terminal", night_at: datetime | None = None) -> Iterator[Training]:
    """Hold the lock and keep the run's row. Raises TwinError if another training is going on, or that night is done already.

    Whoever sets `stop_asked_at` in the row ends it as Ctrl-C does.
    """
    with locked(lock_path(settings)):
        run = Training(settings, f"{utc_now():%Y%m%d-%H%M%S}-{token_hex(3)}")
        transact(settings, lambda connection: runs.begin(connection, run.run_id, kind, utc_now(), trigger=trigger, night_at=night_at))

        def end(state: runs.Ended, error: str | None = None) -> None:
            transact(settings, lambda connection: runs.end(connection, run.run_id, state, utc_now(), detail=run.detail, error=error))

        try:
            with run:
                yield run
        except TwinError as exc:
            run.detail |= {"failure": type(exc).__name__} | ({"wait_seconds": exc.seconds} if isinstance(exc, FloodError) else {})
            end("failed", str(exc))
            raise
        except Exception as exc:
            run.detail["failure"] = type(exc).__name__
            end("failed", type(exc).__name__)  # its message may quote what somebody wrote
            raise
        except BaseException:
            end("cancelled")
            raise
        end("done")


def lock_path(settings: Settings) -> Path:
    return settings.data / "training.lock"


def is_training(settings: Settings) -> bool:
    """Whether a process holds the lock."""
    with lock_path(settings).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The kernel frees the lock with the process, so a crash leaves nothing to clean up."""
    with path.open("a+") as file:
        if not _take(file):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise TwinError(
                f"Another training is going on (process {holder}).", mend="Wait for it, or stop it with Ctrl-C there or /retrain stop."
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _take(file: IO[str]) -> bool:
    """A few tries: somebody may be looking whether it is held, which holds it for an instant."""
    for _ in range(TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(TRY_SECONDS)
    return False
