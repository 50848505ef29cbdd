"""Where the heavy jobs of trainer.jobs run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twin.cli import children
from twin.errors import NothingNew, TwinError
from twin.settings import Settings

Listener = Callable[[dict[str, Any]], None]  # told the events of trainer.jobs


def run(settings: Settings, job: str, order: dict[str, Any], on_event: Listener) -> Any:
    """Do a job ("prepare", "build", "train", "evaluate") and return its result. Raises TwinError."""
    return _run_here(settings, job, order, on_event)


def _run_here(settings: Settings, job: str, order: dict[str, Any], on_event: Listener) -> Any:
    """In a process of its own, which stands back behind the bot."""
    log = settings.data / "logs" / f"{job}.log"
    command = children.python("twin.cli.worker", job, json.dumps(order))
    child = children.start(command, log=log, niceness=settings.trainer.niceness)
    try:
        for event in children.json_lines(child):
            if event["event"] == "error":
                kind = NothingNew if event["type"] == NothingNew.__name__ else TwinError
                raise kind(event["what"], mend=event["mend"])
            if event["event"] == "done":
                return event["result"]
            on_event(event)
        child.wait()
    finally:
        children.stop(child)
    raise TwinError(
        f"`{job}` ended with exit code {child.returncode} before it was done.", mend=f"{log} says why; the same command goes on from there."
    )
