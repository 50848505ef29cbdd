"""Where the heavy jobs of trainer.jobs run: in a process of this host, or on a Ray cluster (TWIN_TRAINER__LAUNCHER)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twin.cli import children
from twin.errors import NothingNew, TwinError
from twin.progress import Progress, silent
from twin.settings import Settings

Listener = Callable[[dict[str, Any]], None]  # told the events of trainer.jobs


def run(settings: Settings, job: str, order: dict[str, Any], on_event: Listener) -> Any:
    """Do a job ("prepare", "build", "train", "evaluate") and return its result. Raises TwinError."""
    if is_elsewhere(settings, job):
        from twin.cli import ray_launcher

        return ray_launcher.run(settings, job, order, on_event)
    return _run_here(settings, job, order, on_event)


def check(settings: Settings, progress: Progress = silent) -> None:
    """Before anything is begun: can jobs be done where the settings say? Raises TwinError."""
    if settings.trainer.launcher == "ray":
        from twin.cli import ray_ready

        ray_ready.check(settings, progress)


def is_elsewhere(settings: Settings, job: str) -> bool:
    """Whether another host does it, so that this one needs no torch for it."""
    return settings.trainer.launcher == "ray" and not _belongs_here(settings, job)


def _belongs_here(settings: Settings, job: str) -> bool:
    """A build needs the store, and no torch. A base model is needed here, weights and all, if this host answers with it."""
    return job == "build" or (job == "prepare" and (settings.engine.kind == "local" or Path(settings.model.base).expanduser().is_dir()))


def _run_here(settings: Settings, job: str, order: dict[str, Any], on_event: Listener) -> Any:
    """In a process of its own, which stands back behind the bot."""
    log = settings.data / "logs" / f"{job}.log"
    command = children.python("twin.cli.worker", job, json.dumps(order))
    child = children.start(command, log=log, niceness=settings.trainer.niceness)
    try:
        for event in children.json_lines(child):
            if event["event"] == "error":
                raise error_of(event)
            if event["event"] == "done":
                return event["result"]
            on_event(event)
        child.wait()
    finally:
        children.stop(child)
    raise TwinError(
        f"`{job}` ended with exit code {child.returncode} before it was done.", mend=f"{log} says why; the same command goes on from there."
    )


def error_of(event: dict[str, Any]) -> TwinError:
    """What a job's `error` says, to be raised here."""
    kind = NothingNew if event["type"] == NothingNew.__name__ else TwinError
    return kind(event["what"], mend=event["mend"])
