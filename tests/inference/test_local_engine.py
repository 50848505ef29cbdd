"""The in-process engine with the real sample model."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from adapter_folders import change_json, rename_layers, seal_adapter

from inference.local import LocalGenerator
from inference.local_model import LocalModel
from inference.proof import mean_difference
from twin.errors import EngineError, ModelError
from twin.generator import ActiveAdapter, Sampling
from twin.turns import Turn

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

TURNS = (Turn("system", "You are Robin, chatting with Kim."), Turn("user", "hey, what are you up to tonight?"))
GREEDY = Sampling(temperature=0, max_new_tokens=12)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(base: Path) -> AsyncIterator[LocalGenerator]:
    engine = LocalGenerator(base, seconds=120, max_prompt_tokens=256)
    yield engine
    await engine.close()


async def test_a_seed_repeats_a_reply_and_another_seed_does_not(engine: LocalGenerator) -> None:
    await engine.use(None)
    one, again, other = [await engine.generate(TURNS, Sampling(max_new_tokens=12, seed=seed)) for seed in (1, 1, 2)]
    assert one == again
    assert one.text != other.text


async def test_a_seed_leaves_other_draws_of_the_process_alone(engine: LocalGenerator) -> None:
    import torch

    torch.manual_seed(7)
    expected = torch.rand(1).item()
    torch.manual_seed(7)
    await engine.generate(TURNS, Sampling(max_new_tokens=2, seed=1))
    assert torch.rand(1).item() == expected


async def test_the_mean_logprob_is_of_the_unscaled_distribution(engine: LocalGenerator) -> None:
    """At temperature 2 the drawn words are unlikely ones, and are reported as such; greedy words are the likeliest."""
    await engine.use(None)
    hot = await engine.generate(TURNS, Sampling(temperature=2, top_p=1, max_new_tokens=12, seed=1))
    greedy = await engine.generate(TURNS, GREEDY)
    assert hot.mean_logprob is not None
    assert greedy.mean_logprob is not None
    assert hot.mean_logprob < greedy.mean_logprob - 1
    assert -3 < greedy.mean_logprob < 0
    assert greedy.tokens == 12


async def test_adapters_are_swapped_and_the_base_model_comes_back_whole(
    engine: LocalGenerator, adapter: ActiveAdapter, other_adapter: ActiveAdapter
) -> None:
    texts = []
    for use in (None, adapter, other_adapter, adapter, None):
        await engine.use(use)
        found = await engine.generate(TURNS, GREEDY)
        assert found.adapter == (use.name if use else None)
        texts.append((found.text, found.mean_logprob))
    assert texts[0] == texts[4]
    assert texts[1] == texts[3]
    assert len(set(texts)) == 3


@pytest.mark.parametrize("former", [True, False])
async def test_a_bad_adapter_is_refused_and_the_former_still_answers(two_layers: Path, tmp_path: Path, former: bool) -> None:
    base, engine = two_layers, LocalGenerator(two_layers, seconds=120, max_prompt_tokens=256)
    adapter = seal_adapter(base, tmp_path / "good")
    await engine.use(adapter if former else None)
    before = await engine.generate(TURNS, GREEDY)
    learnt_nothing = seal_adapter(base, tmp_path / "learnt-nothing", size=0)
    wrong_prefix = rename_layers(adapter, tmp_path / "wrong-prefix", r"model\.layers", "model.decoder.layers")
    other_base = seal_adapter(base, tmp_path / "other-base", r=1)
    change_json(other_base.path, "adapter_config.json", base_model_name_or_path="another-model")
    other_shape = seal_adapter(base, tmp_path / "other-shape", r=8)
    change_json(other_shape.path, "adapter_config.json", r=4)
    truncated = seal_adapter(base, tmp_path / "truncated", r=1)
    (truncated.path / "adapter_model.safetensors").write_bytes(b"\x08")
    for bad, words in (
        (learnt_nothing, "changes nothing"),
        (wrong_prefix, "does not have, such as"),
        (other_base, "trained on another-model"),
        (other_shape, "does not fit"),
        (truncated, "does not fit"),
    ):
        with pytest.raises(ModelError, match=words):
            await engine.use(bad)
        assert await engine.generate(TURNS, GREEDY) == before
    await engine.close()


async def test_a_slow_reply_is_stopped_in_its_thread(base: Path) -> None:
    engine = LocalGenerator(base, seconds=0.2, max_prompt_tokens=256)
    await engine.use(None)
    started = time.monotonic()
    with pytest.raises(EngineError) as caught:
        await engine.generate(TURNS, Sampling(temperature=0, max_new_tokens=2000))
    assert caught.value.kind == "slow"
    assert time.monotonic() - started < 60, "loading included; 2000 tokens would take minutes"
    await engine.close()


async def test_a_cancelled_reply_frees_the_engine_at_once(engine: LocalGenerator) -> None:
    await engine.use(None)
    task = asyncio.create_task(engine.generate(TURNS, Sampling(temperature=0, max_new_tokens=2000)))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    started = time.monotonic()
    await engine.generate(TURNS, Sampling(max_new_tokens=1))
    assert time.monotonic() - started < 20, "the thread is not busy with the cancelled reply"


async def test_replies_asked_for_together_come_one_after_the_other(engine: LocalGenerator) -> None:
    await engine.use(None)
    expected = await engine.generate(TURNS, GREEDY)
    assert await asyncio.gather(*(engine.generate(TURNS, GREEDY) for _ in range(3))) == [expected] * 3


async def test_closing_ends_a_reply_in_progress_and_the_thread(base: Path) -> None:
    others = set(threading.enumerate())
    engine = LocalGenerator(base, seconds=120, max_prompt_tokens=256)
    await engine.generate(TURNS, Sampling(max_new_tokens=1))
    threads = {thread for thread in threading.enumerate() if thread.name.startswith("local-engine")}
    task = asyncio.create_task(engine.generate(TURNS, Sampling(temperature=0, max_new_tokens=2000)))
    await asyncio.sleep(0.5)
    await engine.close()
    with pytest.raises(EngineError, match="closed"):
        await task
    for thread in threads - others:
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()


async def test_single_precision_scores_nearly_the_same(base: Path) -> None:
    precise, half = [await asyncio.to_thread(lambda dtype=dtype: LocalModel(base, dtype).probe()) for dtype in ("float32", "bfloat16")]
    assert 0 < mean_difference(precise, half) < 0.1


async def test_nothing_is_looked_up_on_the_network(base: Path, adapter: ActiveAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(*address: object, **_: object) -> object:
        asked.append(address)
        raise OSError("there is no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    engine = LocalGenerator(base, seconds=120, max_prompt_tokens=256)
    await engine.use(adapter)
    await engine.generate(TURNS, Sampling(max_new_tokens=1))
    await engine.close()
    assert asked == []


async def test_a_folder_without_a_model_is_a_clear_error(tmp_path: Path) -> None:
    engine = LocalGenerator(tmp_path, seconds=5, max_prompt_tokens=256)
    with pytest.raises(ModelError, match="no usable tokenizer"):
        await engine.generate(TURNS, GREEDY)
    await engine.close()
