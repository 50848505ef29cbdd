"""A real vLLM server through its life: adapters come and go, are refused, and outlive a restart. The base model has two layers."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from pathlib import Path

import httpx
import psutil
import pytest
from adapter_folders import rename_layers, seal_adapter
from processes import descendants, is_alive, until
from vllm_scene import CONVERSATIONS, GREEDY, KEY, Served

from inference.middleware import REQUESTS
from inference.vllm import VllmGenerator
from twin.cli.checks import engine_key
from twin.errors import EngineError, ModelError
from twin.generator import ActiveAdapter, Generated
from twin.turns import Turn

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def model(two_layers: Path) -> Path:
    return two_layers


@pytest.fixture(scope="module")
def adapter(two_layers: Path, tmp_path_factory: pytest.TempPathFactory) -> ActiveAdapter:
    return seal_adapter(two_layers, tmp_path_factory.mktemp("voices") / "voice-1", size=0.2)


@pytest.fixture(scope="module")
def other_adapter(two_layers: Path, tmp_path_factory: pytest.TempPathFactory) -> ActiveAdapter:
    return seal_adapter(two_layers, tmp_path_factory.mktemp("voices") / "voice-2", seed=2, size=0.2)


async def telling(client: VllmGenerator, *uses: ActiveAdapter | None) -> tuple[Turn, ...]:
    """A conversation that each of them answers in words of its own. Which one that is depends on how a CPU rounds: with their random
    weights an adapter and the base model may say the same tokens."""
    said: list[list[str]] = []
    for use in uses:
        await client.use(use)
        said.append([(await client.generate(turns, GREEDY)).text for turns in CONVERSATIONS[:4]])
    different = [turns for turns, texts in zip(CONVERSATIONS, zip(*said, strict=True), strict=False) if len(set(texts)) == len(uses)]
    assert different, f"they all say the same: {said}"
    return different[0]


async def test_adapters_are_swapped_while_it_runs(client: VllmGenerator, adapter: ActiveAdapter, other_adapter: ActiveAdapter) -> None:
    turns = await telling(client, None, adapter, other_adapter)
    texts = []
    for use in (None, adapter, other_adapter, adapter, None):
        await client.use(use)
        found = await client.generate(turns, GREEDY)
        assert found.adapter == (use.name if use else None)
        texts.append(found.text)
    assert texts[0] == texts[4]
    assert texts[1] == texts[3]
    assert len(set(texts)) == 3


async def test_no_request_fails_while_adapters_come_and_go_and_each_answer_names_its_own(
    client: VllmGenerator, adapter: ActiveAdapter, other_adapter: ActiveAdapter
) -> None:
    uses: list[ActiveAdapter | None] = [adapter, other_adapter, None, adapter]
    turns = await telling(client, *uses[:3])
    alone: dict[str | None, str] = {}
    said: dict[str | None, set[str]] = {}
    for use in uses[:3]:
        await client.use(use)
        name = use.name if use else None
        alone[name] = (await client.generate(turns, GREEDY)).text
        beside = await asyncio.gather(*(client.generate(turns, GREEDY) for _ in range(3)))  # a batch may tip a tie of bf16
        said[name] = {alone[name], *(found.text for found in beside)}
    assert len(set(alone.values())) == 3
    assert not said[adapter.name] & said[other_adapter.name]
    answered: list[Generated] = []

    async def ask() -> None:
        while True:
            answered.append(await client.generate(turns, GREEDY))

    asking = [asyncio.create_task(ask()) for _ in range(3)]
    try:
        for use in uses:
            await client.use(use)
            since = len(answered)
            while [found.adapter for found in answered[since:]].count(use.name if use else None) < 4:
                assert not any(task.done() for task in asking), "a request failed"
                await asyncio.sleep(0.02)
    finally:
        for task in asking:
            task.cancel()
        ended = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
    assert {found.adapter for found in answered} == set(said)
    # vLLM 0.32 on a CPU lets a request without an adapter act with one that is in its batch (see inference/proof.py): not None here.
    for name, texts in [(name, texts) for name, texts in said.items() if name]:  # other requests may tip a tie of bf16, and no more
        mine = [found.text for found in answered if found.adapter == name]
        assert sum(text in texts for text in mine) >= len(mine) / 2, f"{name} answers as another"


async def test_an_adapter_that_acts_otherwise_than_in_training_is_refused(
    client: VllmGenerator, adapter: ActiveAdapter, other_adapter: ActiveAdapter, tmp_path: Path
) -> None:
    await client.use(adapter)
    mixed_up = tmp_path / "mixed-up"  # the one's weights with the other's proof
    shutil.copytree(other_adapter.path, mixed_up)
    shutil.copy(adapter.path / "manifest.json", mixed_up)
    with pytest.raises(ModelError, match="otherwise than it was trained to"):
        await client.use(ActiveAdapter("mixed-up", mixed_up))
    assert (await client.generate(CONVERSATIONS[0], GREEDY)).adapter == adapter.name


async def test_a_bad_adapter_is_refused_and_the_former_still_answers(
    client: VllmGenerator, two_layers: Path, adapter: ActiveAdapter, tmp_path: Path
) -> None:
    await client.use(adapter)
    before = await client.generate(CONVERSATIONS[0], GREEDY)
    renamed = rename_layers(adapter, tmp_path / "renamed", r"model\.layers", "model.decoder.layers")
    wrong_prefix = rename_layers(adapter, tmp_path / "wrong-prefix", r"base_model\.model\.model", "base_model.model.language_model.model")
    for bad, words in (
        (renamed, "changes nothing"),
        (wrong_prefix, "changes nothing"),
        (seal_adapter(two_layers, tmp_path / "learnt-nothing", size=0), "changes nothing"),
        (seal_adapter(two_layers, tmp_path / "too-large", r=32), "LoRA rank 32 is greater than max_lora_rank 16"),
    ):
        with pytest.raises(ModelError, match=words):
            await client.use(bad)
        assert await client.generate(CONVERSATIONS[0], GREEDY) == before


def routes_of(log: Path) -> list[tuple[str, str]]:
    """Method and path of each route, as the server lists them when it starts."""
    listed = re.findall(r"Route: (/\S*), Methods: (.+)", log.read_text(encoding="utf-8"))
    return [(method, path) for path, methods in listed for method in methods.split(", ")]


async def test_nothing_of_it_answers_who_does_not_have_the_key_or_comes_under_another_name(served: Served) -> None:
    routes = routes_of(served.log)
    unguarded_by_vllm = {("POST", "/invocations"), ("POST", "/generative_scoring"), ("POST", "/sleep"), ("POST", "/collective_rpc")}
    assert unguarded_by_vllm | {("POST", "/v1/completions"), ("GET", "/health"), ("GET", "/openapi.json")} <= set(routes)
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    bearer = {"Authorization": f"Bearer {KEY}"}
    forms = [*routes, ("GET", "/metrics/"), ("OPTIONS", "/v1/completions"), ("POST", "//invocations"), ("POST", "/v1/../invocations")]
    async with httpx.AsyncClient(base_url=served.url, trust_env=False, timeout=30) as anybody:

        async def answers(method: str, path: str, headers: dict[str, str]) -> int:
            return (await anybody.request(method, path, headers=headers, json={} if method == "POST" else None)).status_code

        for strange in ({}, {"Authorization": "Bearer another"}, {"Origin": "http://127.0.0.1:9"}):
            assert {form: status for form in forms if (status := await answers(*form, strange)) != 401} == {}
        renamed = bearer | {"Host": "page.example"}
        assert {form: status for form in forms if (status := await answers(*form, renamed)) != 400} == {}
        assert await answers("GET", "/v1/realtime", upgrade | bearer) in (403, 404)
        let_in = {form for form in routes if await answers(*form, bearer) not in (404, 405)}
    assert let_in <= REQUESTS, "and the key itself opens no more than the twin asks for"
    assert {("GET", "/health"), ("GET", "/v1/models"), ("POST", "/v1/completions")} <= let_in


async def test_its_key_is_in_no_command_line_and_no_log(served: Served) -> None:
    assert served.server
    processes = [served.server.pid, *descendants(served.server.pid)]
    assert not [pid for pid in processes if KEY in " ".join(psutil.Process(pid).cmdline())]
    assert KEY not in served.log.read_text(encoding="utf-8")


async def test_doctor_finds_that_it_refuses_strangers(served: Served) -> None:
    check = await asyncio.to_thread(engine_key, served.settings)
    assert (check.colour, check.mend) == ("green", "")


async def test_a_dead_server_is_unreachable_and_a_restarted_one_gets_its_adapter_again(
    served: Served, client: VllmGenerator, adapter: ActiveAdapter
) -> None:
    assert served.server
    await client.use(adapter)
    before = await client.generate(CONVERSATIONS[0], GREEDY)
    members = descendants(served.server.pid)
    assert len(members) >= 3, "the server, its engine and its worker"

    started = time.monotonic()
    await served.server.stop()
    assert await asyncio.to_thread(until, lambda: not any(is_alive(pid) for pid in members), 5 - (time.monotonic() - started))
    with pytest.raises(EngineError) as caught:
        await client.generate(CONVERSATIONS[0], GREEDY)
    assert caught.value.kind == "unreachable"

    await served.start()
    after = await client.generate(CONVERSATIONS[0], GREEDY)
    assert after == before
