"""Children end when they are told to, whatever they think of it, and do not outlive their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from twin.cli import children
from twin.errors import TwinError

STUBBORN = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"])
pathlib.Path(sys.argv[1]).write_text('{"grandchild": %d}' % grandchild.pid)
time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(pid)


def test_a_stubborn_child_is_killed_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "STOP_SECONDS", 0.2)
    ready = tmp_path / "ready"
    child = children.start([sys.executable, "-c", STUBBORN, str(ready)], log=tmp_path / "log")
    grandchild = children.wait_until_ready(child, ready, seconds=30, name="It", log=tmp_path / "log")["grandchild"]
    children.stop(child)
    assert child.returncode == -signal.SIGKILL
    wait_until_gone(grandchild)


def test_several_children_share_one_grace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "STOP_SECONDS", 1.0)
    readies = [tmp_path / str(i) for i in range(3)]
    started = [children.start([sys.executable, "-c", STUBBORN, str(ready)], log=tmp_path / "log") for ready in readies]
    for child, ready in zip(started, readies, strict=True):
        children.wait_until_ready(child, ready, seconds=30, name="It", log=tmp_path / "log")
    began_at = time.monotonic()
    children.stop(*started)
    assert time.monotonic() - began_at < 2.5
    assert [child.poll() for child in started] == [-signal.SIGKILL] * 3


def test_a_child_that_dies_early_is_told_with_its_log(tmp_path: Path) -> None:
    child = children.start([sys.executable, "-c", "import sys; sys.exit('no room')"], log=tmp_path / "log")
    with pytest.raises(TwinError, match="It ended with exit code 1") as told:
        children.wait_until_ready(child, tmp_path / "ready", seconds=30, name="It", log=tmp_path / "log")
    assert str(tmp_path / "log") in told.value.mend
    assert (tmp_path / "log").read_text() == "no room\n"
    children.stop(child)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_child_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    parent = f"""
import pathlib, sys, time
from twin.cli import children
child = children.start([sys.executable, "-c", "import time; time.sleep(60)"], log=pathlib.Path({str(tmp_path / "log")!r}))
print(child.pid, flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    child = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until_gone(child)
