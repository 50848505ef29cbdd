"""Child processes: each in a process group of its own, ended by its own id, and never outliving this process."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twin.errors import TwinError

STOP_SECONDS = 3.0  # from asking children to end to killing them: Ctrl-C must be done within 5
PR_SET_PDEATHSIG = 1  # linux/prctl.h

Child = subprocess.Popen[str]


def python(module: str, *arguments: object) -> list[str]:
    """The command line of a module in this interpreter. -P: a folder of the data folder must not pass for a package."""
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


def start(
    command: Sequence[str],
    *,
    log: Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    niceness: int = 0,
) -> Child:
    """Start a child that may write lines to stdout; its stderr goes to the file `log`. `niceness`: by how much it stands back."""
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as stderr:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # the terminal's Ctrl-C reaches us alone, and we end our children in order
            preexec_fn=_before_exec(niceness),
        )


def json_lines(child: Child) -> Iterator[dict[str, Any]]:
    """What the child reports, until it closes stdout."""
    assert child.stdout is not None
    for line in child.stdout:
        yield json.loads(line)


def wait_until_ready(child: Child, ready_file: Path, *, seconds: float, name: str, log: Path) -> dict[str, Any]:
    """The JSON that the child leaves once it can be used. Raises TwinError if it ends before, or takes too long."""
    deadline = time.monotonic() + seconds
    while not ready_file.exists():
        if child.poll() is not None:
            raise TwinError(f"{name} ended with exit code {child.returncode} before it was ready.", mend=f"{log} says why.")
        if time.monotonic() > deadline:
            raise TwinError(f"{name} was not ready within {seconds:g} seconds.", mend=f"{log} says how far it came.")
        time.sleep(0.05)
    return dict(json.loads(ready_file.read_text(encoding="utf-8")))


def stop(*children: Child) -> None:
    """Ask all of them to end; after STOP_SECONDS for all together, kill what is left, with whatever it started."""
    for child in children:
        signal_group(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for child in children:
        try:
            child.wait(max(0.01, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        finally:
            signal_group(child.pid, signal.SIGKILL)  # the whole group: a child that ended in order may have left one of its own
            child.wait()
            if child.stdout:
                child.stdout.close()


def signal_group(child_id: int, number: signal.Signals) -> None:
    try:
        os.killpg(child_id, number)  # start_new_session made the child's id its group's
    except ProcessLookupError:
        pass


def _before_exec(niceness: int) -> Callable[[], None] | None:
    dying = dies_with_us()
    if not niceness:
        return dying

    def prepare() -> None:
        os.nice(niceness)
        if dying:
            dying()

    return prepare


def dies_with_us() -> Callable[[], None] | None:
    """Linux ends the child when this process is killed, so that not even kill -9 leaves a server behind."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork: little is safe between fork and exec
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
