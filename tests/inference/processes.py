"""Who is running, from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def until(claim: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether the claim becomes true within the time."""
    end = time.monotonic() + seconds
    while not claim() and time.monotonic() < end:
        time.sleep(0.02)
    return claim()


def is_alive(pid: int) -> bool:
    """A zombie is dead: it only waits to be counted."""
    state = _stat(pid)
    return state is not None and state[0] != "Z"


def descendants(pid: int) -> list[int]:
    parents = {int(entry): int(stat[1]) for entry in os.listdir("/proc") if entry.isdigit() and (stat := _stat(int(entry)))}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {pid})


def _stat(pid: int) -> list[str] | None:
    """State, parent, ... of a process, None if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
