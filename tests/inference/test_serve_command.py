"""How vLLM is started, and what is said when it does not start."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

import inference.serve
from inference.serve import last_error, serve_command, serve_env, start_server
from twin.errors import EngineError, ModelError, SettingsError
from twin.settings import Engine, Settings, Training

HEALTHY = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 2048}))
    return folder


def settings(*, r: int = 16, **engine: object) -> Settings:
    return Settings(_env_file=None, training=Training(r=r), engine=Engine(**{"api_key": SecretStr("k-1"), **engine}))  # type: ignore[call-arg, arg-type]


async def answers(url: str) -> bool:
    async with httpx.AsyncClient() as client:
        try:
            return (await client.get(f"{url}/health")).status_code == 200
        except httpx.ConnectError:
            return False


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_the_server_listens_on_loopback_under_the_base_models_name(small: Path) -> None:
    command = serve_command(settings(), small, 8123)
    assert option(command, "--host") == "127.0.0.1"
    assert option(command, "--port") == "8123"
    assert option(command, "--model") == str(small)
    assert option(command, "--served-model-name") == "smollm2-135m"
    assert option(command, "--dtype") == "bfloat16"


@pytest.mark.parametrize(("r", "served"), [(1, 1), (4, 8), (16, 16), (17, 32), (300, 320)])
def test_the_rank_is_rounded_up_to_what_vllm_takes(small: Path, r: int, served: int) -> None:
    assert option(serve_command(settings(r=r), small, 1), "--max-lora-rank") == str(served)


def test_a_rank_beyond_vllm_is_refused(small: Path) -> None:
    with pytest.raises(ModelError, match="TWIN_TRAINING__R"):
        serve_command(settings(r=513), small, 1)


@pytest.mark.parametrize(("layer", "restricted"), [("self_attn.q_proj", True), ("mlp.experts.0.w1", False)])
def test_the_output_head_is_not_prepared_for_adapters_where_the_layers_are_known(small: Path, layer: str, restricted: bool) -> None:
    shapes = {f"model.layers.0.{layer}.weight": [8, 8], "model.layers.0.input_layernorm.weight": [8], "lm_head.weight": [16, 8]}
    header = json.dumps({"__metadata__": {}} | {name: {"dtype": "BF16", "shape": shape} for name, shape in shapes.items()}).encode()
    (small / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    command = serve_command(settings(), small, 1)
    assert ("--lora-target-modules" in command) is restricted
    assert "lm_head" not in command


@pytest.mark.parametrize(("prompt", "reply", "length"), [(512, 96, 1024), (1024, 96, 1280), (1900, 148, 2048)])
def test_prompt_and_reply_fit_into_the_servers_window(small: Path, prompt: int, reply: int, length: int) -> None:
    command = serve_command(settings(max_prompt_tokens=prompt, max_new_tokens=reply), small, 1)
    assert option(command, "--max-model-len") == str(length)


def test_a_window_larger_than_the_models_is_refused(small: Path) -> None:
    with pytest.raises(ModelError, match="takes 2048 tokens, the settings ask for 2096"):
        serve_command(settings(max_prompt_tokens=2000, max_new_tokens=96), small, 1)


@pytest.mark.parametrize(("on_cpu", "eager"), [(True, True), (False, False)])
def test_a_gpu_compiles_and_a_cpu_does_not(small: Path, monkeypatch: pytest.MonkeyPatch, on_cpu: bool, eager: bool) -> None:
    monkeypatch.setattr(inference.serve, "_runs_on_cpu", lambda: on_cpu)
    assert ("--enforce-eager" in serve_command(settings(), small, 1)) is eager
    assert ("VLLM_CPU_KVCACHE_SPACE" in serve_env(settings(), small, {})) is on_cpu


def test_nothing_dials_out_and_no_secret_of_ours_is_passed_on(small: Path) -> None:
    env = serve_env(settings(), small, {"PATH": "/bin", "TWIN_BOT__TOKEN": "1:x", "TWIN_SECRET_KEY": "y"})
    assert env["VLLM_NO_USAGE_STATS"] == env["DO_NOT_TRACK"] == env["HF_HUB_OFFLINE"] == "1"
    assert env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert env["VLLM_API_KEY"] == "k-1"
    assert env["PATH"] == "/bin"
    assert not [name for name in env if name.startswith("TWIN_")]
    assert "k-1" not in serve_command(settings(), small, 1)


def test_there_is_no_server_without_a_key_and_none_without_the_middleware_that_asks_for_it(small: Path) -> None:
    assert option(serve_command(settings(), small, 1), "--middleware") == "inference.middleware.OnlyWithKey"
    with pytest.raises(SettingsError, match="TWIN_ENGINE__API_KEY is not set") as caught:
        serve_env(settings(api_key=None), small, {"VLLM_API_KEY": "of somebody else"})
    assert "twin init" in caught.value.mend


def test_the_last_error_is_the_root_one(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    log.write_text(
        "INFO all well\n"
        "(EngineCore pid=9) ERROR 11-21 04:10:29 [core.py:1] Traceback (most recent call last):\n"
        "(EngineCore pid=9) ERROR 11-21 04:10:29 [core.py:1] ValueError: No available memory for the cache blocks.\n"
        "(APIServer pid=7) RuntimeError: Engine core initialization failed. See root cause above.\n"
        "bye\n"
    )
    assert last_error(log) == "ValueError: No available memory for the cache blocks."
    assert last_error(tmp_path / "none") == "it left no error in its log."


async def test_a_server_is_up_inside_the_block_and_gone_after_it(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference.serve, "serve_command", lambda s, b, port: [sys.executable, "-c", HEALTHY, str(port)])
    told: list[float] = []
    async with start_server(
        settings(), small, log=tmp_path / "logs/vllm.log", ready_seconds=20, progress=lambda done, total, note="": told.append(done)
    ) as server:
        url = server.url
        assert await answers(url)
        assert told
        assert server.log.stat().st_mode & 0o077 == 0
        started = time.monotonic()
    assert time.monotonic() - started < 5
    assert not await answers(url)


async def test_a_server_that_dies_while_starting_says_why(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = "import sys; sys.exit('ValueError: the model does not fit')"
    monkeypatch.setattr(inference.serve, "serve_command", lambda s, b, port: [sys.executable, "-c", dying])
    with pytest.raises(EngineError, match=r"^vLLM stopped: ValueError: the model does not fit") as caught:
        async with start_server(settings(), small, log=tmp_path / "vllm.log", ready_seconds=20):
            raise AssertionError("it is not up")
    assert "\n" not in str(caught.value)


async def test_a_server_that_is_not_up_in_time_is_ended(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference.serve, "serve_command", lambda s, b, port: [sys.executable, "-c", "import time; time.sleep(300)"])
    with pytest.raises(EngineError, match=r"not up after 0.5 seconds") as caught:
        async with start_server(settings(), small, log=tmp_path / "vllm.log", ready_seconds=0.5):
            raise AssertionError("it is not up")
    assert caught.value.kind == "slow"


async def test_a_server_that_dies_later_ends_the_wait(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = HEALTHY.replace("serve_forever()", "handle_request()")  # one answer, then the end
    monkeypatch.setattr(inference.serve, "serve_command", lambda s, b, port: [sys.executable, "-c", dying, str(port)])
    async with start_server(settings(), small, log=tmp_path / "vllm.log", ready_seconds=20) as server:
        with pytest.raises(EngineError, match="vLLM stopped"):
            await server.wait()
