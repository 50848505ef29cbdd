"""Two families through both engines, with real weights that were trained for some seconds: one whose template thinks (Qwen3), one
whose turns end with another token than the tokenizer's end token (Llama 3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import pytest
import pytest_asyncio
from dataset_scene import TOPICS, toy_dataset
from small_models import Family, save_tiny_family

from inference.local import LocalGenerator
from inference.prompting import fit_prompt, load_tokenizer
from inference.vllm import VllmGenerator
from trainer.dataset_reader import read_examples
from trainer.train import train
from twin.generator import ActiveAdapter, Generator, Sampling
from twin.renderer import Renderer
from twin.said import cleaned
from twin.settings import Training

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]

TEMPLATES = resources.files("trl").joinpath("chat_templates")
FAMILIES = {
    "qwen3": Family(
        "qwen3",
        TEMPLATES.joinpath("qwen3.jinja").read_text(encoding="utf-8"),
        "<|im_end|>",
        ("<|endoftext|>", "<|im_start|>"),
        ("<think>", "</think>"),
    ),
    "llama3": Family(
        "llama",
        TEMPLATES.joinpath("llama3_2.jinja").read_text(encoding="utf-8"),
        "<|end_of_text|>",
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>"),
    ),
}
ENDS = {"qwen3": "<|im_end|>", "llama3": "<|eot_id|>"}
OPENS = {"qwen3": "<|im_start|>assistant\n<think>\n\n</think>\n\n", "llama3": "<|start_header_id|>assistant<|end_header_id|>\n\n"}
TAUGHT = Training(r=8, alpha=16, learning_rate=2e-2, batch_tokens=512, epochs=25, generic=0)
LONGEST = 40  # tokens; what was taught has ten at most
RAMBLING = 200  # one token of 300 is a mark where each is as likely


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(family: str, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_family(tmp_path_factory.mktemp("bases") / family, base, FAMILIES[family])


@pytest.fixture(scope="module")
def dataset(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_dataset(tmp_path_factory.mktemp("toy"), model)


@pytest.fixture(scope="module")
def taught(model: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> ActiveAdapter:
    return ActiveAdapter("taught", train(dataset, model, tmp_path_factory.mktemp("adapters") / "taught", TAUGHT))


@pytest.fixture(scope="module")
def renderer(model: Path) -> Renderer:
    return Renderer(load_tokenizer(model))


@pytest_asyncio.fixture(loop_scope="module", params=["local", "vllm"])
async def engine(request: pytest.FixtureRequest, model: Path, client: VllmGenerator) -> AsyncIterator[Generator]:
    local = LocalGenerator(model, seconds=120, max_prompt_tokens=512)
    yield local if request.param == "local" else client
    await local.close()


async def test_what_was_taught_is_said_from_the_first_token_to_the_taught_end(
    engine: Generator, family: str, dataset: Path, taught: ActiveAdapter, renderer: Renderer
) -> None:
    assert [renderer.tokenizer.decode(end) for end in renderer.ends] == [ENDS[family]]
    await engine.use(taught)
    for example in list(read_examples(dataset, "train"))[:4]:
        row = renderer.row(example.turns)
        i, first, end = row.spans[-1]
        assert row.ids[:first] == fit_prompt(renderer, example.turns[:i], 512), "what serving asks begins the row"
        assert renderer.tokenizer.decode(row.ids[:first]).endswith(OPENS[family])
        assert renderer.tokenizer.decode(row.ids[end - 1]) == ENDS[family]
        found = await engine.generate(example.turns[:i], Sampling(temperature=0, max_new_tokens=LONGEST))
        assert found.text == example.turns[i].content
        assert found.text.split()[0] in TOPICS
        assert found.tokens == end - first, "its words and the end of the turn, nothing after it"


@pytest.mark.parametrize("is_taught", [True, False])
async def test_no_mark_of_the_template_leaves(
    engine: Generator, dataset: Path, taught: ActiveAdapter, renderer: Renderer, is_taught: bool
) -> None:
    await engine.use(taught if is_taught else None)
    turns = next(read_examples(dataset, "train")).turns[:2]
    for seed in range(4):
        found = await engine.generate(turns, Sampling(temperature=2, top_p=1, max_new_tokens=RAMBLING, seed=seed))
        assert not renderer.marks.search(cleaned(found.text))
