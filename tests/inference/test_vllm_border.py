"""What the owner is told when the vLLM server misbehaves. The server is a function; the client and its prompts are real."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from small_tokenizer import save_empty_adapter, save_small_base

from inference.vllm import VllmGenerator
from twin.errors import EngineError, ModelError
from twin.generator import ActiveAdapter, Sampling
from twin.turns import Turn

TURNS = (Turn("system", "You are Robin, chatting with Kim."), Turn("user", "the secret is swordfish"))
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_base(tmp_path_factory.mktemp("base"))


def open_client(small: Path, handler: Handler, *, seconds: float = 5.0, api_key: str | None = None) -> VllmGenerator:
    return VllmGenerator(
        small,
        url="http://127.0.0.1:1",
        served_name="small",
        seconds=seconds,
        max_prompt_tokens=256,
        api_key=api_key,
        transport=httpx.MockTransport(handler),
    )


class Server:
    """As much of vLLM as the client uses. `effect`: nats by which an adapter moves every probe."""

    def __init__(self, effect: float = 0.5) -> None:
        self.effect = effect
        self.adapters: dict[str, str] = {}
        self.requests: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(
                200,
                json={"data": [{"id": "small", "root": "/small"}, *({"id": name, "root": path} for name, path in self.adapters.items())]},
            )
        body = json.loads(request.content)
        self.requests.append(body)
        if request.url.path == "/v1/load_lora_adapter":
            if body["lora_name"] in self.adapters:
                return refuse(400, f"The lora adapter '{body['lora_name']}' has already been loaded.")
            self.adapters[body["lora_name"]] = body["lora_path"]
            return httpx.Response(200, text="Success")
        if request.url.path == "/v1/unload_lora_adapter":
            found = self.adapters.pop(body["lora_name"], None)
            return httpx.Response(200, text="Success") if found else refuse(404, "The lora adapter cannot be found.")
        if body["model"] not in ("small", *self.adapters):
            return refuse(404, f"The model `{body['model']}` does not exist.")
        choice: dict[str, Any] = {"token_ids": [72, 73], "logprobs": {"token_logprobs": [-1.0, -2.0]}}
        if "prompt_logprobs" in body:
            score = -1.0 - (self.effect if body["model"] in self.adapters else 0.0)
            choice["prompt_logprobs"] = [None, *({str(token): {"logprob": score}} for token in body["prompt"][1:])]
        return httpx.Response(200, json={"choices": [choice]})


def refuse(status: int, message: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, "code": status}})


def answer(status: int, message: str) -> Handler:
    return lambda request: refuse(status, message)


def fail(exc: Exception) -> Handler:
    def handler(request: httpx.Request) -> httpx.Response:
        raise exc

    return handler


async def failure(client: VllmGenerator) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await client.generate(TURNS, Sampling())
    return caught.value


@pytest.mark.parametrize(
    ("handler", "kind", "words"),
    [
        (fail(httpx.ConnectError("refused")), "unreachable", "cannot be reached"),
        (fail(httpx.ConnectTimeout("timed out")), "unreachable", "cannot be reached"),
        (fail(httpx.RemoteProtocolError("server disconnected")), "unreachable", "cannot be reached"),
        (fail(httpx.ReadError("connection reset")), "unreachable", "cannot be reached"),
        (fail(httpx.ReadTimeout("timed out")), "slow", "no answer within 5 seconds"),
        (answer(503, "loading"), "unreachable", "not up"),
        (answer(401, "Unauthorized"), "refused", "another key"),
        (answer(400, "max_tokens is too large"), "refused", "max_tokens is too large"),
        (answer(500, "engine is dead"), "refused", "engine is dead"),
        (lambda request: httpx.Response(200, text="<html>a router's page</html>"), "refused", "not a vLLM server"),
        (lambda request: httpx.Response(200, json=[]), "refused", "not a vLLM server"),
        (lambda request: httpx.Response(200, json={"choices": []}), "refused", "not a vLLM server"),
        (lambda request: httpx.Response(200, json={"choices": [{"text": "hi"}]}), "refused", "not a vLLM server"),
    ],
)
async def test_each_failure_is_one_clear_line_of_its_kind(small: Path, handler: Handler, kind: str, words: str) -> None:
    error = await failure(open_client(small, handler))
    assert error.kind == kind
    assert words in str(error)
    assert "\n" not in str(error)
    assert "swordfish" not in str(error)


async def test_a_server_that_trickles_is_slow_in_all_not_between_bytes(small: Path) -> None:
    import asyncio

    class Trickle(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]
            while True:
                await asyncio.sleep(0.01)
                yield b" "

    client = open_client(small, lambda request: httpx.Response(200, stream=Trickle()), seconds=0.3)
    assert (await failure(client)).kind == "slow"


async def test_what_the_server_echoes_of_the_prompt_is_cut_out(small: Path) -> None:
    echo = "[{'type': 'int', 'msg': 'Input should be valid', 'input': {'prompt': 'the secret is swordfish'}}]"
    assert "swordfish" not in str(await failure(open_client(small, answer(422, echo))))
    ids = str(await failure(open_client(small, answer(400, f"bad prompt [84, 104, 101, 32] {'x' * 500}"))))
    assert "84" not in ids
    assert len(ids) < 300


async def test_the_prompt_is_the_renderers_and_every_sampling_default_is_named(small: Path) -> None:
    from inference.prompting import load_tokenizer
    from twin.renderer import Renderer

    server = Server()
    found = await open_client(small, server).generate(TURNS, Sampling(temperature=0.5, top_p=0.9, max_new_tokens=7, seed=3))
    sent = server.requests[0]
    tokenizer = load_tokenizer(small)
    assert sent["prompt"] == Renderer(tokenizer).prompt(TURNS)
    assert (sent["model"], sent["temperature"], sent["top_p"], sent["max_tokens"], sent["seed"]) == ("small", 0.5, 0.9, 7, 3)
    assert (sent["top_k"], sent["min_p"], sent["repetition_penalty"]) == (0, 0.0, 1.0)
    assert sent["stop_token_ids"] == sorted({7, tokenizer.eos_token_id})
    assert (found.tokens, found.mean_logprob, found.adapter) == (2, -1.5, None)


async def test_the_key_is_sent(small: Path) -> None:
    keys = []
    server = Server()

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers.get("Authorization"))
        return server(request)

    await open_client(small, handler, api_key="k-1").generate(TURNS, Sampling())
    assert keys == ["Bearer k-1"]


async def test_another_base_model_on_the_server_is_named(small: Path) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "larger", "root": "/larger"}]})
        return refuse(404, "The model `small` does not exist.")

    assert "serves larger, not small" in str(await failure(open_client(small, handler)))


# --- adapters ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def voice(tmp_path: Path) -> ActiveAdapter:
    return ActiveAdapter("voice-1", save_empty_adapter(tmp_path / "voice-1"))


@pytest.fixture
def next_voice(tmp_path: Path) -> ActiveAdapter:
    return ActiveAdapter("voice-2", save_empty_adapter(tmp_path / "voice-2"))


async def test_a_new_adapter_is_loaded_before_the_former_is_unloaded(small: Path, voice: ActiveAdapter, next_voice: ActiveAdapter) -> None:
    server = Server()
    client = open_client(small, server)
    await client.use(voice)
    assert server.adapters == {"voice-1": str(voice.path)}
    await client.use(next_voice)
    assert (await client.generate(TURNS, Sampling())).adapter == "voice-2"
    await client.let_go_of_former()
    assert server.adapters == {"voice-2": str(next_voice.path)}
    await client.use(None)
    assert (await client.generate(TURNS, Sampling())).adapter is None
    await client.let_go_of_former()
    assert server.adapters == {}


async def test_an_adapter_without_effect_is_unloaded_and_the_former_stays(
    small: Path, voice: ActiveAdapter, next_voice: ActiveAdapter
) -> None:
    server = Server()
    client = open_client(small, server)
    await client.use(voice)
    server.effect = 0.0
    with pytest.raises(ModelError, match="changes nothing"):
        await client.use(next_voice)
    assert list(server.adapters) == ["voice-1"]
    assert (await client.generate(TURNS, Sampling())).adapter == "voice-1"


async def test_a_restarted_server_gets_the_adapter_again_before_it_answers(small: Path, voice: ActiveAdapter) -> None:
    import asyncio

    server = Server()
    client = open_client(small, server)
    await client.use(voice)
    server.adapters.clear()
    answers = await asyncio.gather(*(client.generate(TURNS, Sampling()) for _ in range(4)))
    assert [found.adapter for found in answers] == ["voice-1"] * 4
    assert list(server.adapters) == ["voice-1"]


async def test_an_adapter_loaded_by_an_earlier_process_is_taken_over(small: Path, voice: ActiveAdapter) -> None:
    server = Server()
    server.adapters["voice-1"] = str(voice.path)
    await open_client(small, server).use(voice)
    assert server.adapters == {"voice-1": str(voice.path)}


async def test_another_folder_under_the_same_name_is_replaced(small: Path, voice: ActiveAdapter) -> None:
    server = Server()
    server.adapters["voice-1"] = "/elsewhere/voice-1"
    await open_client(small, server).use(voice)
    assert server.adapters == {"voice-1": str(voice.path)}


async def test_an_adapter_of_another_base_never_reaches_the_server(small: Path, tmp_path: Path) -> None:
    server = Server()
    with pytest.raises(ModelError, match="trained on larger"):
        await open_client(small, server).use(ActiveAdapter("voice-9", save_empty_adapter(tmp_path / "voice-9", base="larger")))
    assert server.requests == []


@pytest.mark.parametrize(
    ("status", "message", "error", "words"),
    [
        (500, "Worker failed with error 'LoRA rank 64 is greater than max_lora_rank 16.', please check", ModelError, "LoRA rank 64"),
        (404, "No adapter found for /data/voice-1", ModelError, "No adapter found"),
        (401, "Unauthorized", EngineError, "another key"),
        (503, "loading", EngineError, "not up"),
    ],
)
async def test_a_refused_load_says_why(
    small: Path, voice: ActiveAdapter, status: int, message: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        await open_client(small, answer(status, message)).use(voice)


async def test_a_server_that_loads_no_adapters_is_told_apart(small: Path, voice: ActiveAdapter) -> None:
    with pytest.raises(EngineError, match="does not load adapters while it runs"):
        await open_client(small, lambda request: httpx.Response(404, json={"detail": "Not Found"})).use(voice)
