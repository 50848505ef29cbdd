"""`python -m sandbox` as a process: it opens its doors, tells where they are, and goes when it should."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from sandbox.samples import load_world
from sandbox.world import World


@contextmanager
def started(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The sandbox on the small world, with all doors open."""
    command = [sys.executable, "-m", "sandbox", "--world", "small", "--print-ready", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            if process.poll() is None:
                process.kill()


def get(address: str) -> Any:
    with urlopen(address, timeout=10) as response:
        return json.load(response)


def refused(*options: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", "sandbox", *options], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def wait_until_gone(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_all_doors_are_open_once_it_is_ready(tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    with started("--ready-file", str(ready_file), "--token", "42:of-the-test") as (process, ready):
        assert json.loads(ready_file.read_text()) == ready
        assert stat.S_IMODE(ready_file.stat().st_mode) == 0o600  # it holds a token
        assert ready["pid"] == process.pid
        assert get(f"{ready['page']}/api/health")["ok"] is True
        assert get(f"{ready['bot_api']}/bot42:of-the-test/getMe")["result"]["id"] == ready["bot_id"] == 42
        world = get(f"{ready['page']}/api/world")
        assert world["owner"] == ready["owner_id"]
        assert set(ready["contact_ids"]) <= set(world["contacts"])
        code = get(f"{ready['page']}/api/login_code?phone={ready['owner_phone'].replace('+', '%2B')}")
        assert code["code"].isdecimal()
        assert ready["mtproto"]["public_key_pem"].startswith("-----BEGIN")
        assert list(tmp_path.iterdir()) == [ready_file]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_even_while_someone_listens_for_ever(number: signal.Signals, tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    with started("--ready-file", str(ready_file)) as (process, ready), urlopen(f"{ready['page']}/api/events", timeout=10):
        process.send_signal(number)
        assert process.wait(30) == 0
        assert not ready_file.exists()


def test_the_world_is_saved_at_the_end(tmp_path: Path) -> None:
    saved = tmp_path / "world.json"
    with started("--save", str(saved)) as (process, ready):
        call = {"from": ready["contact_ids"][0], "to": ready["bot_id"], "text": "keep this"}
        request = Request(f"{ready['page']}/api/send", json.dumps(call).encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as response:
            assert response.status == 200
        process.terminate()
        process.wait(10)
    world = World()
    assert load_world(world, saved).owner_id == ready["owner_id"]
    assert world.history(ready["contact_ids"][0], ready["bot_id"])[-1].text == "keep this"


def test_it_goes_with_its_parent() -> None:
    """The parent is killed, so it can tell nobody anything."""
    program = (
        "import subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'sandbox', '--world', 'small', '--print-ready', '--with-parent']\n"
        "subprocess.Popen(command, stderr=subprocess.DEVNULL)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        ready = json.loads(parent.stdout.readline())
        parent.kill()
        try:
            assert wait_until_gone(ready["pid"], 5)
        finally:
            if not wait_until_gone(ready["pid"], 0):
                os.kill(ready["pid"], signal.SIGKILL)


def test_without_that_it_outlives_its_parent_until_it_is_told() -> None:
    with started() as (process, _):
        assert process.poll() is None
        process.terminate()
        assert process.wait(10) == 0


def test_a_taken_port_is_told_in_a_sentence() -> None:
    with started() as (_, ready):
        port = ready["page"].rpartition(":")[2]
        code, errors = refused("--world", "small", "--port-page", port)
    assert code == 1
    assert f"--port-page {port}" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--world", "small", "--owner", "2"], 1, "--owner goes with --world chitchat"),
        (["--world", "no-such-file.json"], 1, "no-such-file.json"),
        (["--world", "small", "--token", "77:other"], 1, "has the id 42"),
        (["--token", "nonsense"], 2, "a token looks like 42:secret"),
        (["--port-bot", "70000"], 2, "a port is a number from 0 to 65535"),
    ],
)
def test_what_it_cannot_do_is_said_in_a_sentence(options: list[str], code: int, words: str) -> None:
    returned, errors = refused(*options)
    assert returned == code
    assert words in errors
    assert "Traceback" not in errors


def test_help_imports_no_telegram_library() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "sandbox", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "--ready-file" in done.stdout
    assert "argparse" in done.stderr, "the imports are listed"
    assert "telethon" not in done.stderr


def test_the_sample_chats_are_the_default_world() -> None:
    with started("--world", "chitchat", "--owner", "2") as (_, ready):
        assert ready["messages"] > 1_000
        assert len(ready["contact_ids"]) > 10
        chats = get(f"{ready['page']}/api/chats/{ready['owner_id']}")["chats"]
        assert {chat["other"] for chat in chats} == set(ready["contact_ids"])
