"""Nothing dials out: the audit sees what there is to see, and the product's processes give it nothing to see."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

READY_SECONDS = 180  # the sample model may have to be converted first: 17 s on an idle machine


@pytest.mark.parametrize(
    ("attempt", "seen"),
    [
        ("socket.socket().connect(('192.0.2.1', 443))", "192.0.2.1:443"),
        ("socket.socket().connect_ex(('192.0.2.1', 443))", "192.0.2.1:443"),
        ("socket.socket(socket.AF_INET6).connect(('2001:db8::1', 443))", "2001:db8::1:443"),
        ("socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 53))", "192.0.2.1:53"),
        ("socket.create_connection(('example.invalid', 443))", "example.invalid"),
        ("socket.gethostbyname('example.invalid')", "example.invalid"),
        ("asyncio.run(asyncio.open_connection('192.0.2.1', 443))", "192.0.2.1:443"),
        ("multiprocessing.get_context('spawn').Process(target=socket.gethostbyname, args=('example.invalid',)).start()", "example.invalid"),
    ],
)
def test_an_attempt_fails_and_is_written_down_even_if_its_error_is_swallowed(attempt: str, seen: str, tmp_path: Path) -> None:
    code = f"import asyncio, multiprocessing, socket\nif __name__ == '__main__':\n  try:\n    {attempt}\n  except OSError:\n    pass\n"
    script = tmp_path / "attempt.py"
    script.write_text(code)
    log = tmp_path / "attempts"
    subprocess.run([sys.executable, script], env={**os.environ, "EGRESS_LOG": str(log)}, check=True, timeout=60, capture_output=True)
    attempts = [json.loads(line)["to"] for line in log.read_text().splitlines()]
    assert attempts
    assert set(attempts) == {seen}


def test_loopback_and_sockets_of_this_machine_are_no_attempts(tmp_path: Path) -> None:
    code = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(("localhost", server.getsockname()[1])).close()
    socket.create_connection(server.getsockname()).close()
first, second = socket.socketpair()
socket.getaddrinfo(None, 80); socket.getaddrinfo("192.0.2.1", 80); socket.getaddrinfo("::1", 80)
"""
    log = tmp_path / "attempts"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "EGRESS_LOG": str(log)}, check=True, timeout=60)
    assert not log.exists()


def test_this_process_is_audited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EGRESS_LOG")  # or the attempt would fail this very test
    with socket.socket() as unconnected, pytest.raises(OSError, match="reach no further"):
        sys.audit("socket.connect", unconnected, ("192.0.2.1", 443))


@pytest.mark.slow
def test_the_command_line_the_sandbox_and_the_bot_reach_nothing_outside(tmp_path: Path) -> None:
    """A contact writes, the bot takes the message and fails to reach its engine: all of it on this machine, not one attempt beyond."""
    log = tmp_path / "attempts"
    env = {name: value for name, value in os.environ.items() if not name.startswith("TWIN_") or name == "TWIN_MODELS"}
    env |= {"EGRESS_LOG": str(log)}
    helped = subprocess.run([sys.executable, "-m", "twin", "--help"], env=env, timeout=60, capture_output=True, text=True, check=True)
    assert "collect" in helped.stdout

    with process("sandbox", "--world", "small", env=env, folder=tmp_path) as world:
        assert world["page"].startswith("http://127.0.0.1:")
        env |= {
            "TWIN_DATA": str(tmp_path / "data"),
            "TWIN_OWNER__ID": str(world["owner_id"]),
            "TWIN_BOT__TOKEN": world["bot_token"],
            "TWIN_BOT__API_URL": world["bot_api"],
            "TWIN_BOT__BURST_SECONDS": "0",
            "TWIN_ENGINE__KIND": "vllm",
            "TWIN_ENGINE__URL": "http://127.0.0.1:9",  # discard: nobody listens there
        }
        api = httpx.Client(base_url=world["page"], trust_env=False, headers={"Origin": world["page"]})
        with api, process("twin", "run", env=env, folder=tmp_path):
            contact = api.get("/api/world").json()["contacts"][0]
            api.post("/api/send", json={"from": contact, "to": world["bot_id"], "text": "are you there?"}).raise_for_status()
            told = until(lambda: api.get(f"/api/chats/{world['owner_id']}/{world['bot_id']}").json()["messages"])
            assert told
    assert not log.exists() or not log.read_text()


def until(condition: Any) -> Any:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"Not within {READY_SECONDS} seconds.")


@contextmanager
def process(module: str, *arguments: str, env: dict[str, str], folder: Path) -> Iterator[dict[str, Any]]:
    """Run `python -m module`, yield what it wrote into its ready file, and end it as Ctrl-C would."""
    ready = folder / f"{module}.json"
    with (folder / f"{module}.log").open("wb") as log:
        command = [sys.executable, "-m", module, *arguments, "--ready-file", str(ready)]
        # A script's background job ignores SIGINT from its start on, and has to be ended all the same.
        ignoring = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
        child = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log, preexec_fn=ignoring)
    try:
        until(lambda: ready.exists() or child.poll() is not None)
        assert child.poll() is None, (folder / f"{module}.log").read_text()
        yield json.loads(ready.read_text())
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
        try:
            child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise
