"""From one adapter to the next: nobody's answer is lost, and an adapter that does not act as it was trained to never answers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from adapter_folders import change_json
from processes import until
from small_tokenizer import save_empty_adapter, save_small_base
from test_vllm_border import TURNS, Server, open_client

from inference.pause import paused, wake
from inference.promotion import prove
from inference.proof import Sealed, prove_likeness, require_likeness
from twin import engine_pause
from twin.errors import EngineError, ModelError
from twin.generator import ActiveAdapter, Sampling
from twin.settings import Settings, load_settings
from twin.store import adapters, facts, open_store

PROMPTS = [[1, 2, 3], [4, 5, 6, 7]]
SCORED = sum(len(prompt) - 1 for prompt in PROMPTS)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def voices(tmp_path: Path) -> list[ActiveAdapter]:
    return [ActiveAdapter(f"voice-{i}", save_empty_adapter(tmp_path / f"voice-{i}")) for i in (1, 2)]


def seal_probes(adapter: ActiveAdapter, *, base: float, tuned: float) -> None:
    """As if PEFT had given every token these log-probabilities."""
    change_json(adapter.path, "manifest.json", probes={"prompts": PROMPTS, "base": [base] * SCORED, "adapter": [tuned] * SCORED})


# --- the proof --------------------------------------------------------------------------------------------------------


async def test_a_server_that_says_what_peft_said_is_believed(small: Path, voices: list[ActiveAdapter]) -> None:
    server = Server(effect=0.5)  # the base scores -1.0, an adapter -1.5
    seal_probes(voices[0], base=-1.02, tuned=-1.53)
    client = open_client(small, server)
    await client.prove(voices[0])
    assert list(server.adapters) == ["voice-1"], "it stays loaded"
    assert (await client.generate(TURNS, Sampling())).adapter is None, "and does not answer yet"


@pytest.mark.parametrize("tuned", [-1.0, -1.3, -2.0])
async def test_one_that_says_something_else_is_not(small: Path, voices: list[ActiveAdapter], tuned: float) -> None:
    server = Server(effect=0.5)
    seal_probes(voices[0], base=-1.02, tuned=tuned)
    with pytest.raises(ModelError, match="otherwise than it was trained to"):
        await open_client(small, server).prove(voices[0])
    assert server.adapters == {}


async def test_the_more_the_base_models_differ_the_more_is_allowed(small: Path, voices: list[ActiveAdapter]) -> None:
    seal_probes(voices[0], base=-1.1, tuned=-1.65)
    await open_client(small, Server(effect=0.5)).prove(voices[0])


def test_however_the_base_models_differ_half_of_the_effect_is_never_allowed() -> None:
    sealed = Sealed([[1, 2]], [-1.0], [-2.0])
    require_likeness("voice", sealed, [-1.2], [-1.65])
    with pytest.raises(ModelError, match=r"0.700 nats a token from PEFT, 0.500 are allowed"):
        require_likeness("voice", sealed, [-2.0], [-2.7])
    with pytest.raises(ModelError, match="changes nothing"):
        require_likeness("voice", sealed, [-1.4], [-1.4])


async def test_a_base_model_that_speaks_as_the_adapter_beside_it_is_asked_again() -> None:
    """vLLM on a CPU, where somebody is answered by the adapter at that moment."""
    said = iter([-1.5, -1.5, -1.02])

    async def probe(model: str, prompts: list[list[int]]) -> list[list[float]]:
        return [
            [next(said) if model == "base" and ids == PROMPTS[0] else {"base": -1.0, "voice": -1.5}[model]] * (len(ids) - 1)
            for ids in prompts
        ]

    await prove_likeness("voice", "base", Sealed(PROMPTS, [-1.0] * SCORED, [-1.5] * SCORED), probe)
    assert next(said, None) is None, "and only what was far off"


# --- answers in flight ------------------------------------------------------------------------------------------------


class SlowServer(Server):
    """Holds completions back until it is told; remembers what was asked of an adapter that was gone."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()
        self.reached = asyncio.Event()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else {}
        if request.url.path == "/v1/completions" and "prompt_logprobs" not in body:
            self.reached.set()
            await self.may_answer.wait()
        return self(request)


async def test_an_answer_under_way_ends_on_the_old_adapter_which_is_unloaded_after_it(small: Path, voices: list[ActiveAdapter]) -> None:
    server = SlowServer()
    client = open_client(small, server.answer)  # type: ignore[arg-type]
    await client.use(voices[0])
    under_way = asyncio.create_task(client.generate(TURNS, Sampling()))
    await server.reached.wait()
    await client.use(voices[1])
    assert set(server.adapters) == {"voice-1", "voice-2"}, "the old one still has to answer"
    server.may_answer.set()
    assert (await under_way).adapter == "voice-1"
    assert (await client.generate(TURNS, Sampling())).adapter == "voice-2"
    await client.let_go_of_former()
    assert set(server.adapters) == {"voice-2"}


async def test_one_that_is_called_back_while_it_leaves_stays(small: Path, voices: list[ActiveAdapter]) -> None:
    server = SlowServer()
    client = open_client(small, server.answer)  # type: ignore[arg-type]
    await client.use(voices[0])
    under_way = asyncio.create_task(client.generate(TURNS, Sampling()))
    await server.reached.wait()
    await client.use(voices[1])
    await client.use(voices[0])
    server.may_answer.set()
    await under_way
    await client.let_go_of_former()
    assert set(server.adapters) == {"voice-1"}
    assert (await client.generate(TURNS, Sampling())).adapter == "voice-1"


async def test_no_request_fails_while_adapters_come_and_go(small: Path, voices: list[ActiveAdapter]) -> None:
    server = Server()
    client = open_client(small, server)
    await client.use(voices[0])
    answered: list[str | None] = []

    async def ask() -> None:
        while True:
            answered.append((await client.generate(TURNS, Sampling())).adapter)

    asking = [asyncio.create_task(ask()) for _ in range(4)]
    for wanted in (voices[1], None, voices[0], voices[1]):
        await client.use(wanted)
        before = len(answered)
        while len(answered) < before + 20:
            assert not any(task.done() for task in asking)
            await asyncio.sleep(0)
    for task in asking:
        task.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*asking, return_exceptions=True))
    assert set(answered) == {"voice-1", "voice-2", None}


async def test_an_adapter_in_use_is_asked_for_again_at_no_cost_unless_the_server_lost_it(small: Path, voices: list[ActiveAdapter]) -> None:
    server = Server()
    client = open_client(small, server)
    await client.use(voices[0])
    asked = len(server.requests)
    await client.use(voices[0])
    assert len(server.requests) == asked
    server.adapters.clear()  # restarted
    await client.use(voices[0])
    assert list(server.adapters) == ["voice-1"]
    server.adapters.clear()
    server.effect = 0.0
    with pytest.raises(ModelError, match="changes nothing"):
        await client.use(voices[0])


# --- one card for both ------------------------------------------------------------------------------------------------


class Sleeper:
    """As much of vLLM over HTTP as a pause needs. `forgets`: it wakes up as the base model, so many times."""

    def __init__(self, *, can_sleep: bool = True, forgets: int = 0, port: int = 0) -> None:
        self.model, self.can_sleep, self.forgets = Server(), can_sleep, forgets
        self.asleep = False
        self.calls: list[str] = []
        sleeper = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(200 if self.path == "/health" else 404, {})

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = self.path.split("?")[0]
                sleeper.calls.append(path)
                if path in ("/sleep", "/wake_up"):
                    if sleeper.can_sleep:
                        sleeper.asleep = path == "/sleep"
                        sleeper.model.effect = 0.0 if sleeper.forgets > 0 and not sleeper.asleep else 0.5
                    return self.reply(200 if sleeper.can_sleep else 404, {"detail": "Not Found"})
                if path == "/v1/load_lora_adapter" and sleeper.model.effect == 0.0:
                    sleeper.forgets -= 1
                    sleeper.model.effect = 0.0 if sleeper.forgets >= 0 else 0.5
                found = sleeper.model(httpx.Request("POST", f"http://x{path}", content=content))
                self.reply(found.status_code, found.content)

            def reply(self, status: int, body: Any) -> None:
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def sleeper(request: pytest.FixtureRequest) -> Iterator[Sleeper]:
    made = Sleeper(**getattr(request, "param", {}))
    yield made
    made.close()


def settings_for(sleeper: Sleeper, folder: Path, small: Path, during: str = "pause") -> Settings:
    engine = {"kind": "vllm", "url": sleeper.url, "during_training": during}
    return load_settings(None, data=folder / "data", engine=engine, model={"base": "small"})


def on_store(settings: Settings, work: Any) -> Any:
    async def run() -> Any:
        store = open_store(settings.store_path)
        try:
            async with store.begin() as connection:
                return await work(connection)
        finally:
            await store.dispose()

    return asyncio.run(run())


def activate(settings: Settings, voice: ActiveAdapter) -> None:
    async def work(connection: Any) -> None:
        now = datetime.now(UTC)
        await adapters.add(
            connection,
            name=voice.name,
            path=voice.path,
            base_model="small",
            parent=None,
            dataset_hash="d",
            metrics={},
            dialog_ids=[],
            at=now,
        )
        await adapters.promote(connection, voice.name, now)

    on_store(settings, work)


def pause_of(settings: Settings) -> Any:
    return on_store(settings, engine_pause.read)


def test_the_server_sleeps_while_the_block_runs_and_the_adapter_is_proven_when_it_wakes(
    sleeper: Sleeper, small: Path, voices: list[ActiveAdapter], tmp_path: Path
) -> None:
    settings = settings_for(sleeper, tmp_path, small)
    activate(settings, voices[0])
    with paused(settings, small):
        assert sleeper.asleep
        assert pause_of(settings).how == "sleep"
        assert on_store(settings, lambda c: engine_pause.is_paused(c, datetime.now(UTC)))
    assert not sleeper.asleep
    assert pause_of(settings) is None
    assert sleeper.calls[:2] == ["/sleep", "/wake_up"]
    assert list(sleeper.model.adapters) == ["voice-1"]


@pytest.mark.parametrize("sleeper", [{"forgets": 1}], indirect=True)
def test_one_that_wakes_up_as_the_base_model_gets_its_adapter_anew(
    sleeper: Sleeper, small: Path, voices: list[ActiveAdapter], tmp_path: Path
) -> None:
    settings = settings_for(sleeper, tmp_path, small)
    activate(settings, voices[0])
    with paused(settings, small):
        pass
    assert sleeper.calls.count("/v1/load_lora_adapter") == 2
    assert list(sleeper.model.adapters) == ["voice-1"]


def test_an_error_within_wakes_it_too(sleeper: Sleeper, small: Path, tmp_path: Path) -> None:
    settings = settings_for(sleeper, tmp_path, small)
    with pytest.raises(KeyboardInterrupt), paused(settings, small):
        raise KeyboardInterrupt
    assert not sleeper.asleep
    assert pause_of(settings) is None


@pytest.mark.parametrize("sleeper", [{"can_sleep": False}], indirect=True)
def test_one_that_cannot_sleep_is_stopped_by_who_owns_it_and_started_again(sleeper: Sleeper, small: Path, tmp_path: Path) -> None:
    settings = settings_for(sleeper, tmp_path, small)
    done = threading.Event()

    def own() -> None:
        """What `twin serve` does."""
        until(lambda: (pause := pause_of(settings)) is not None and pause.how == "stop")
        on_store(settings, lambda c: facts.put(c, engine_pause.SERVER, {"state": "stopped"}))
        done.set()

    owner = threading.Thread(target=own)
    owner.start()
    with paused(settings, small):
        assert done.wait(10)
    owner.join()
    assert pause_of(settings) is None


@pytest.mark.parametrize("sleeper", [{"can_sleep": False}], indirect=True)
def test_without_an_owner_to_stop_it_the_night_says_so(
    sleeper: Sleeper, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.pause.STOP_SECONDS", 0.2)
    settings = settings_for(sleeper, tmp_path, small)
    with pytest.raises(EngineError, match="no `twin serve`"), paused(settings, small):
        raise AssertionError("it must not begin")
    assert pause_of(settings) is None
    assert sleeper.calls == ["/sleep", "/wake_up"], "it may have stopped taking requests before it failed to sleep"


def test_a_server_that_died_in_its_sleep_is_waited_for(sleeper: Sleeper, small: Path, voices: list[ActiveAdapter], tmp_path: Path) -> None:
    settings = settings_for(sleeper, tmp_path, small)
    activate(settings, voices[0])
    fresh: list[Sleeper] = []

    def start_again() -> None:
        """What `twin serve` does once the card is free."""
        until(lambda: (pause := pause_of(settings)) is not None and pause.how == "back")
        fresh.append(Sleeper(port=sleeper.http.server_port))

    owner = threading.Thread(target=start_again)
    with paused(settings, small):
        sleeper.close()
        owner.start()
    owner.join()
    fresh[0].close()
    assert list(fresh[0].model.adapters) == ["voice-1"]
    assert pause_of(settings) is None


def test_one_that_does_not_wake_up_is_left_to_others(sleeper: Sleeper, small: Path, tmp_path: Path) -> None:
    settings = settings_for(sleeper, tmp_path, small)
    with pytest.raises(EngineError, match="does not wake up"), paused(settings, small):
        sleeper.can_sleep = False
    assert pause_of(settings).how == "sleep", "it goes stale, and whoever sees that wakes or restarts the server"


PAUSING = """
import sys, time
from pathlib import Path
from inference.pause import paused, wake
from twin.settings import load_settings
url, data, base = sys.argv[1:]
engine = {"kind": "vllm", "url": url, "during_training": "pause"}
with paused(load_settings(None, data=Path(data), engine=engine, model={"base": "small"}), Path(base)):
    time.sleep(300)
"""


def test_a_training_that_is_killed_leaves_a_row_that_goes_stale(sleeper: Sleeper, small: Path, tmp_path: Path) -> None:
    settings = settings_for(sleeper, tmp_path, small)
    arguments = [sys.executable, "-c", PAUSING, sleeper.url, str(settings.data), str(small)]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as training:
        assert until(lambda: sleeper.asleep, 60)
        training.kill()
    left = pause_of(settings)
    assert left.has_card(left.beat_at)
    assert not left.is_fresh(left.beat_at + engine_pause.STALE)
    wake(settings)
    assert not sleeper.asleep


def test_where_nothing_is_to_pause_nothing_is_asked(sleeper: Sleeper, small: Path, tmp_path: Path) -> None:
    with paused(settings_for(sleeper, tmp_path, small, during="serve"), small):
        pass
    assert sleeper.calls == []


def test_a_pause_that_nobody_keeps_up_is_none(tmp_path: Path) -> None:
    settings = load_settings(None, data=tmp_path)
    long_ago = datetime.now(UTC) - timedelta(minutes=5)
    on_store(settings, lambda c: engine_pause.keep(c, "sleep", long_ago))
    assert not on_store(settings, lambda c: engine_pause.is_paused(c, datetime.now(UTC)))
    assert pause_of(settings) is not None, "so that `twin serve` knows whom to wake"


async def test_a_local_engine_is_proven_by_its_folder(small: Path, voices: list[ActiveAdapter], tmp_path: Path) -> None:
    settings = load_settings(None, data=tmp_path)
    await prove(settings, small, voices[0])
    (voices[1].path / "manifest.json").unlink()
    with pytest.raises(ModelError, match="not whole"):
        await prove(settings, small, voices[1])
