"""SIGTERM and SIGINT end what runs for long, in order and with all it started, also where the shell made it ignore SIGINT."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from cli_scene import answers_for, on_store, running_sandbox, start_twin

from twin import engine_pause
from twin.cli.folder import utc_now

SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
STOPPED = 130


def descendants(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in pairs if its_parent == parent]
    return found[1:]


def until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def end(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send it, and see that it stops in order and leaves nobody behind."""
    children = descendants(process.pid)
    process.send_signal(number)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert (process.returncode, err.splitlines()[-1]) == (STOPPED, "Stopped.")
    assert "Traceback" not in err
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


@SIGNALS
def test_run(number: signal.Signals, tmp_path: Path, data: Path, tiny: Path) -> None:
    with running_sandbox(tmp_path, "small") as sandbox:
        env = os.environ | answers_for(sandbox) | {"TWIN_OWNER__ID": str(sandbox["owner_id"]), "TWIN_MODEL__BASE": str(tiny)}
        ready = tmp_path / "bot.json"
        process = start_twin("run", "--data", data, "--ready-file", ready, env=env)
        until(ready.exists, process)
        end(process, number)


@SIGNALS
def test_serve(number: signal.Signals, data: Path, tiny: Path) -> None:
    """It waits for a training's GPU; test_serving ends one whose server is up."""
    at = utc_now() + timedelta(hours=1)
    data.mkdir()
    on_store(data, lambda connection: engine_pause.keep(connection, "stop", at))
    env = os.environ | {"TWIN_ENGINE__KIND": "vllm", "TWIN_ENGINE__API_KEY": "a-key", "TWIN_MODEL__BASE": str(tiny)}
    process = start_twin("serve", "--data", data, env=env)
    assert process.stderr
    lines = iter(process.stderr.readline, "")
    assert any("A training has the GPU" in line for line in lines)
    end(process, number)


@SIGNALS
def test_nightly(number: signal.Signals, tmp_path: Path, data: Path) -> None:
    """It waits for a cluster that takes the call and says nothing."""
    asked = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        taken: list[socket.socket] = []

        def take() -> None:
            taken.append(silent.accept()[0])
            asked.set()

        threading.Thread(target=take, daemon=True).start()
        address = {"TWIN_TRAINER__LAUNCHER": "ray", "TWIN_TRAINER__RAY_ADDRESS": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        env = os.environ | address | {"TWIN_TRAINER__STORAGE": (tmp_path / "storage").as_uri()}
        process = start_twin("nightly", "--data", data, env=env)
        until(asked.is_set, process)
        end(process, number)
        for connection in taken:
            connection.close()


@SIGNALS
def test_demo(number: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    process = start_twin("demo", "--no-browser", "--world", "small", "--data", folder, env=dict(os.environ))
    until((folder / "sandbox.json").exists, process)
    end(process, number)
