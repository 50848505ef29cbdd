"""Forked processes (`forked`) are reaped, say what goes wrong, are audited, and do not outlive the tests."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import forked
import pytest

LINGERING = """
import os, signal, socket

def fail(say):
    raise RuntimeError("as it must")

def reach_out(say):
    del os.environ["EGRESS_LOG"]  # or the attempt would fail the test that makes it
    try:
        socket.create_connection(("192.0.2.1", 9), timeout=1)
    except OSError as exc:
        say(str(exc))

def linger(say):
    say("here")
    signal.pause()
"""
PARENT = """
import asyncio, forked, os, signal

async def main():
    child = await forked.fork("lingering:linger")
    assert await child.hear() == "here"
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

forked.IMPORTED = ()
asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def lingering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lingering.py").write_text(LINGERING)
    monkeypatch.syspath_prepend(str(tmp_path))


async def test_a_killed_child_is_reaped_by_the_time_its_status_is_known() -> None:
    child = await forked.fork("lingering:linger")
    assert await child.hear() == "here"
    child.kill()
    assert (await child.wait(), await child.hear()) == (-9, "")
    assert not Path(f"/proc/{child.pid}").exists()


async def test_an_error_of_a_child_is_said_and_is_its_status() -> None:
    child = await forked.fork("lingering:fail")
    assert "RuntimeError: as it must" in await child.hear()
    assert await child.wait() == 1


async def test_a_child_reaches_no_further_than_this_machine() -> None:
    child = await forked.fork("lingering:reach_out")
    assert "the tests reach no further than this machine" in await child.hear()
    assert await child.wait() == 0


def test_children_die_with_the_process_that_forked_them(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((os.environ["PYTHONPATH"], str(tmp_path), *filter(None, sys.path)))}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        try:
            gone = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            assert select.select([gone], [], [], 30)[0], "it lives on"
        finally:
            os.close(gone)
