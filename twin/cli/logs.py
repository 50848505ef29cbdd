"""The log: one JSON line an event, in logs/twin.log of the data folder, readable by the owner alone.

Events carry names and ids, never texts. Exceptions are written as frames (file, line, source) and class names only,
because the message of an exception may quote what somebody wrote.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

from twin.cli.border import cleaned

ROTATE_BYTES = 5_000_000  # then it becomes twin.log.1, and the one before that goes

Event = MutableMapping[str, Any]


def log_to(data: Path, *, also_to_stderr: bool = False) -> Path:
    """Send every event of this process to `data`/logs/twin.log. Returns the file."""
    path = log_path(data)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists() and path.stat().st_size > ROTATE_BYTES:
        path.replace(path.with_suffix(".log.1"))
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            frames_only,
            *([_to_stderr] if also_to_stderr else []),
            structlog.processors.JSONRenderer(_as_json),
        ],
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Lines(path))),
        cache_logger_on_first_use=False,
    )
    return path


_ENCODER = json.JSONEncoder(default=str)  # json.dumps would make one for every line


def _as_json(event: Event, **_: Any) -> str:
    return _ENCODER.encode(event)


def log_path(data: Path) -> Path:
    return data / "logs" / "twin.log"


def frames_only(_logger: Any, _method: str, event: Event) -> Event:
    """A structlog processor: `exc_info` becomes frames and class names."""
    found = event.pop("exc_info", None)
    error = found if isinstance(found, BaseException) else sys.exc_info()[1] if found else None
    if error is not None:
        event["traceback"] = frames(error)
    return event


def frames(error: BaseException) -> str:
    """The traceback of an exception and of its causes, without their messages."""
    parts: list[str] = []
    shown: BaseException | None = error
    while shown is not None:
        parts.append("".join(traceback.format_tb(shown.__traceback__)) + type(shown).__name__)
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)
    return "\n\nafter\n\n".join(parts)


def place(error: BaseException) -> str:
    """Where it happened: the innermost frame, as file:line."""
    inner = traceback.extract_tb(error.__traceback__)[-1:]
    return f"{'/'.join(Path(inner[0].filename).parts[-2:])}:{inner[0].lineno}" if inner else "an unknown place"


def _to_stderr(_logger: Any, _method: str, event: Event) -> Event:
    rest = " ".join(f"{name}={value}" for name, value in event.items() if name not in ("event", "level", "timestamp", "traceback"))
    line = f"{event['timestamp'][11:19]} {event['level']:<7} {event['event']} {rest}".rstrip()
    print(cleaned(line).replace("\n", " "), file=sys.stderr)  # noqa: T201
    return event


class _Lines:
    """A file opened for each line: events are few, and nothing is left open whatever ends the process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, line: str) -> None:
        try:
            self._append(line)
        except OSError:  # a full disk ends nothing that can go on without a log
            pass

    def _append(self, line: str) -> None:
        file = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        try:
            left = line.encode("utf-8", "replace")
            while left:
                left = left[os.write(file, left) :]
        finally:
            os.close(file)

    def flush(self) -> None: ...
