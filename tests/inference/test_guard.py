"""A server never outlives the process that started it, and goes whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import is_alive, until

from inference.serve import GUARD

# A server with a worker, both deaf to SIGTERM, that writes down who they are.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
worker = os.fork()
if worker:
    with open(sys.argv[1] + ".unfinished", "w") as file:
        file.write(f"{os.getpid()} {worker}")
    os.rename(sys.argv[1] + ".unfinished", sys.argv[1])
time.sleep(300)
"""
PARENT = """
import subprocess, sys, time
guard = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
time.sleep(300)
"""


@pytest.fixture
def pids_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "pids"
    yield path
    for pid in path.read_text().split() if path.exists() else []:
        if is_alive(int(pid)):
            os.kill(int(pid), signal.SIGKILL)


def guarded(pids_file: Path) -> list[str]:
    return [sys.executable, str(GUARD), sys.executable, "-c", STUBBORN, str(pids_file)]


def pids(pids_file: Path) -> list[int]:
    assert until(pids_file.exists)
    found = [int(pid) for pid in pids_file.read_text().split()]
    assert all(is_alive(pid) for pid in found)
    return found


def test_a_parent_killed_with_sigkill_takes_a_deaf_server_and_its_worker_along(pids_file: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *guarded(pids_file)])
    server = pids(pids_file)
    parent.kill()
    parent.wait()
    assert until(lambda: not any(is_alive(pid) for pid in server), 5.0)


def test_closing_its_input_ends_the_server_within_five_seconds(pids_file: Path) -> None:
    guard = subprocess.Popen(guarded(pids_file), stdin=subprocess.PIPE)
    server = pids(pids_file)
    guard.communicate(timeout=5.0)
    assert not any(is_alive(pid) for pid in server)


def test_sigterm_to_the_guard_ends_the_server(pids_file: Path) -> None:
    guard = subprocess.Popen(guarded(pids_file), stdin=subprocess.PIPE)
    server = pids(pids_file)
    guard.terminate()
    guard.wait(timeout=5.0)
    assert not any(is_alive(pid) for pid in server)
    guard.communicate()


def test_a_guard_killed_with_sigkill_takes_the_server_along(pids_file: Path) -> None:
    guard = subprocess.Popen(guarded(pids_file), stdin=subprocess.PIPE)
    server = pids(pids_file)
    guard.kill()
    guard.communicate()
    assert until(lambda: not is_alive(server[0]), 5.0)


def test_a_server_that_ends_by_itself_passes_its_exit_code_on() -> None:
    guard = subprocess.Popen([sys.executable, str(GUARD), sys.executable, "-c", "raise SystemExit(7)"], stdin=subprocess.PIPE)
    assert guard.wait(timeout=10.0) == 7
    guard.communicate()
