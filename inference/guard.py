"""Runs a server and ends it, all of it, when its own parent is gone: `python guard.py COMMAND...`, standard library only.

The parent holds the other end of standard input. When that closes, because the parent closed it, crashed or was killed with
SIGKILL, the server's whole process group gets SIGTERM and after GRACE_SECONDS SIGKILL.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from types import FrameType

GRACE_SECONDS = 3.0
PR_SET_PDEATHSIG = 1


def guard(command: list[str]) -> int:
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_guard)
    try:
        while server.poll() is None:
            readable, _, _ = select.select([sys.stdin], [], [], 0.1)
            if readable and not os.read(sys.stdin.fileno(), 1024):
                break
    finally:
        _end_group(server)
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


def _leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)


def _die_with_guard() -> None:  # runs in the child; the guard has one thread, so that is safe
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_group(server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + GRACE_SECONDS
    _signal_group(server.pid, signal.SIGTERM)
    while server.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    _signal_group(server.pid, signal.SIGKILL)  # also what the server left behind: its workers outlive it by seconds
    server.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]))
