"""The data folder: settings, store, the lock that lets one training run at a time."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from twin.cli.logs import log_to
from twin.errors import TwinError
from twin.settings import Settings, load_settings
from twin.store import facts, open_store, runs

Result = TypeVar("Result")

BEAT_SECONDS = 15.0
DATASET = "dataset"  # the fact that names the dataset built last


def open_folder(data: Path | None, *, log_to_stderr: bool = False) -> Settings:
    """Settings from the environment and ./.env, for the folder `data` if given. From here on events go to its log."""
    settings = load_settings(data=data) if data else load_settings()
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    log_to(settings.data, also_to_stderr=log_to_stderr)
    return settings


def transact(settings: Settings, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    """Do `work` in one transaction on the store."""

    async def run() -> Result:
        store = open_store(settings.store_path)
        try:
            async with store.begin() as connection:
                return await work(connection)
        finally:
            await store.dispose()

    return asyncio.run(run())


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
    """A run in progress: tells the store which stage it is in and that it is alive."""

    def __init__(self, settings: Settings, run_id: str) -> None:
        self.run_id = run_id
        self.detail: dict[str, object] = {}
        self._settings = settings
        self._stage = ""
        self._beaten_at = 0.0

    def stage(self, name: str) -> None:
        self._stage, self._beaten_at = name, 0.0
        self.beat()

    def beat(self) -> None:
        """Cheap to call often: it writes every BEAT_SECONDS."""
        if time.monotonic() - self._beaten_at >= BEAT_SECONDS:
            self._beaten_at = time.monotonic()
            transact(self._settings, lambda connection: runs.beat(connection, self.run_id, self._stage, utc_now()))


@contextmanager
def training(settings: Settings, kind: str) -> Iterator[Training]:
    """Hold the lock and keep the run's row. Raises TwinError if another training is going on."""
    with locked(settings.data / "training.lock"):
        run = Training(settings, f"{utc_now():%Y%m%d-%H%M%S}-{token_hex(3)}")
        transact(settings, lambda connection: runs.begin(connection, run.run_id, kind, utc_now()))

        def end(state: runs.Ended, error: str | None = None) -> None:
            transact(settings, lambda connection: runs.end(connection, run.run_id, state, utc_now(), detail=run.detail, error=error))

        try:
            yield run
        except TwinError as exc:
            end("failed", exc.what)
            raise
        except Exception as exc:
            end("failed", type(exc).__name__)  # its message may quote what somebody wrote
            raise
        except BaseException:
            end("cancelled")
            raise
        end("done")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The kernel frees the lock with the process, so a crash leaves nothing to clean up."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise TwinError(
                f"Another training is going on (process {holder}).", mend="Wait for it, or stop it with Ctrl-C there."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
