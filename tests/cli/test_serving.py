"""`twin serve` owns the vLLM server: it gives the card to a training and takes it back, whatever becomes of the training."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from adapter_folders import seal_adapter
from cli_scene import on_store, start_twin
from small_models import save_tiny_llama
from sqlalchemy.ext.asyncio import AsyncConnection

import inference.serve
from inference.pause import paused
from twin import engine_pause
from twin.cli.commands import serve as command
from twin.cli.folder import utc_now
from twin.cli.terminal import Screen
from twin.engine_pause import How, Pause
from twin.settings import Settings, load_settings
from twin.store import adapters, facts, open_store

KEY = "canary-key"
BEARER = {"Authorization": f"Bearer {KEY}"}
# As much of vLLM as its owner looks at. It sleeps and wakes by the file that it is given, if there is one.
SERVER = """
import http.server, pathlib, sys
asleep = pathlib.Path(sys.argv[2])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200)
    def do_POST(self):
        found = asleep.exists()
        asleep.unlink(missing_ok=True)
        self.answer(200 if found and asleep.name == "asleep" else 404)
    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): ...
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@dataclass
class Owned:
    """`twin serve`, in this process, with a server that is up at once."""

    settings: Settings
    folder: Path
    sleeper: str = "asleep"  # the file's name: any other cannot be woken
    starts: list[int] = field(default_factory=list)

    @property
    def ready(self) -> Path:
        return self.folder / "ready.json"

    @property
    def asleep(self) -> Path:
        return self.folder / self.sleeper

    def command(self, settings: Settings, base: Path, port: int) -> list[str]:
        self.starts.append(port)
        return [sys.executable, "-c", SERVER, str(port), str(self.asleep)]

    @property
    def url(self) -> str:
        return self.settings.engine.url

    async def is_up(self) -> bool:
        async with httpx.AsyncClient(timeout=5, trust_env=False, headers=BEARER) as client:
            try:
                return (await client.get(f"{self.url}/health")).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

    async def say(self, how: How | None, *, ago: timedelta = timedelta(0)) -> None:
        store = open_store(self.settings.store_path)
        async with store.begin() as connection:
            await (engine_pause.keep(connection, how, utc_now() - ago) if how else engine_pause.end(connection))
        await store.dispose()

    async def state(self) -> str | None:
        """What it says of its server."""
        store = open_store(self.settings.store_path)
        async with store.connect() as connection:
            found = await facts.get(connection, engine_pause.SERVER)
        await store.dispose()
        return found["state"] if found else None

    async def pause(self) -> Pause | None:
        store = open_store(self.settings.store_path)
        async with store.connect() as connection:
            found = await engine_pause.read(connection)
        await store.dispose()
        return found


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 - it looks at what another process does
            await asyncio.sleep(0.05)


async def is_down(owned: Owned) -> bool:
    return not await owned.is_up()


async def has_stopped(owned: Owned) -> bool:
    return await owned.state() == "stopped"


async def is_ended(owned: Owned) -> bool:
    return await owned.pause() is None


@asynccontextmanager
async def owning(owned: Owned) -> AsyncIterator[Owned]:
    base, port = owned.folder / "base", int(owned.url.rpartition(":")[2])
    task = asyncio.create_task(command._serve(owned.settings, base, port, Screen(as_json=True), owned.ready))
    try:
        yield owned
        assert not task.done(), "it serves for ever"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def owned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Owned:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    found = Owned(load_settings(None, data=tmp_path / "data", engine={"kind": "vllm", "url": url, "api_key": KEY}), tmp_path)
    monkeypatch.setattr(inference.serve, "serve_command", found.command)
    monkeypatch.setattr(command, "LOOK_SECONDS", 0.05)
    return found


async def test_it_stops_for_a_training_and_starts_after_it_on_the_same_port(owned: Owned) -> None:
    async with owning(owned):
        await until(owned.is_up)
        await owned.say("stop")
        await until(lambda: is_down(owned))
        await owned.say("back")
        await until(owned.is_up)
        await owned.say(None)
    assert len(set(owned.starts)) == 1
    assert len(owned.starts) == 2


@pytest.mark.parametrize("how", ["sleep", "stop"])
async def test_one_that_is_started_during_a_training_waits_for_its_end(owned: Owned, how: How) -> None:
    await owned.say(how)
    async with owning(owned):
        await until(lambda: has_stopped(owned))
        assert owned.starts == []
        await owned.say("back")
        await until(owned.is_up)


async def test_a_training_that_was_killed_gives_the_card_back(owned: Owned, monkeypatch: pytest.MonkeyPatch) -> None:
    async with owning(owned):
        await until(owned.is_up)
        await owned.say("stop")
        await until(lambda: is_down(owned))
        monkeypatch.setattr(engine_pause, "STALE", timedelta(seconds=0.5))  # nobody keeps the row fresh
        await until(owned.is_up)
        await until(lambda: is_ended(owned))


async def test_one_that_sleeps_for_a_training_that_was_killed_is_woken(owned: Owned) -> None:
    async with owning(owned):
        await until(owned.is_up)
        owned.asleep.touch()
        await owned.say("sleep", ago=timedelta(minutes=5))
        await until(lambda: is_ended(owned))
        assert not owned.asleep.exists()
        assert len(owned.starts) == 1


async def test_one_that_does_not_wake_up_is_started_anew(owned: Owned) -> None:
    owned.sleeper = "in a coma"
    async with owning(owned):
        await until(owned.is_up)
        await owned.say("sleep", ago=timedelta(minutes=5))
        await until(lambda: is_ended(owned))
        await until(owned.is_up)
        assert len(owned.starts) == 2


# --- a real server ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_vllm_gives_its_card_to_a_training_and_is_back_with_its_adapter(
    owned: Owned, data: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU it cannot sleep, so that it is stopped and started."""
    base = save_tiny_llama(tmp_path / "tiny", tiny, head_dim=32)
    adapter = seal_adapter(base, tmp_path / "voice-1", r=8, size=0.2)
    for name, value in {
        "MODEL__BASE": base,
        "ENGINE__KIND": "vllm",
        "ENGINE__URL": owned.url,
        "ENGINE__API_KEY": KEY,
        "ENGINE__DURING_TRAINING": "pause",
    }.items():
        monkeypatch.setenv(f"TWIN_{name}", str(value))
    settings = load_settings(data=data)

    async def activate(connection: AsyncConnection) -> None:
        rest = {"parent": None, "dataset_hash": "d", "metrics": {}, "dialog_ids": [], "at": utc_now()}
        await adapters.add(connection, name=adapter.name, path=adapter.path, base_model=str(base), **rest)
        await adapters.promote(connection, adapter.name, utc_now())

    on_store(data, activate)
    serving = start_twin("serve", "--json", "--data", data, "--ready-file", owned.ready, env=dict(os.environ))
    try:
        deadline = time.monotonic() + 240
        while not owned.ready.exists():
            assert serving.poll() is None, serving.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with paused(settings, base):
            assert not asyncio.run(owned.is_up())
            pause = on_store(data, engine_pause.read)
            assert (pause.how, pause.is_fresh(utc_now())) == ("stop", True)
        assert on_store(data, engine_pause.read) is None
        served = httpx.get(f"{owned.url}/v1/models", headers=BEARER, trust_env=False).json()["data"]
        assert [card["id"] for card in served] == [str(base), adapter.name], "it was loaded before anybody asked"
        assert serving.poll() is None
    finally:
        serving.send_signal(signal.SIGTERM)  # test_pipeline and test_demo send SIGINT
        serving.communicate(timeout=60)
    assert asyncio.run(is_down(owned))
