"""The scores that are sealed with an adapter are those of the adapter as PEFT serves it from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.dataset_reader import load_tokenizer
from trainer.train import train
from twin.probes import PROBES, probe_prompts
from twin.renderer import Renderer
from twin.settings import Training

FAST = Training(r=8, alpha=16, learning_rate=2e-2, batch_tokens=256, epochs=1)


@pytest.fixture(scope="module")
def adapter(toy: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(toy, tiny_base, tmp_path_factory.mktemp("adapters") / "one", FAST)


def manifest_of(adapter: Path) -> dict[str, Any]:
    return dict(json.loads((adapter / "manifest.json").read_text()))


def scores(model: Any, prompts: list[list[int]]) -> list[float]:
    import torch

    found: list[float] = []
    with torch.inference_mode():
        for ids in prompts:
            logits = model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
            found += [logits[i, token].item() for i, token in enumerate(ids[1:])]
    return found


def mean_difference(one: list[float], other: list[float]) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def test_plain_peft_gives_the_sealed_scores(adapter, tiny_base):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    sealed = manifest_of(adapter)["probes"]
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.bfloat16).eval()
    assert mean_difference(scores(base, sealed["prompts"]), sealed["base"]) < 0.02
    tuned = PeftModel.from_pretrained(base, adapter).eval()
    assert mean_difference(scores(tuned, sealed["prompts"]), sealed["adapter"]) < 0.02
    assert mean_difference(sealed["base"], sealed["adapter"]) > 0.2


def test_the_prompts_are_the_fixed_ones_of_several_kinds(adapter, tiny_base):
    prompts = manifest_of(adapter)["probes"]["prompts"]
    assert prompts == probe_prompts(Renderer(load_tokenizer(tiny_base)))
    assert len(PROBES) >= 4
    assert 100 < sum(map(len, prompts)) < 250
    assert len(manifest_of(adapter)["probes"]["base"]) == sum(len(ids) - 1 for ids in prompts)


def test_the_manifest_says_how_the_base_was_held(adapter, toy, tiny_base, tmp_path):
    assert manifest_of(adapter)["quantization"] == "none"
    quantised = manifest_of(train(toy, tiny_base, tmp_path / "nf4", FAST.model_copy(update={"quantization": "nf4", "epochs": 0.3})))
    assert quantised["quantization"] == "nf4"
    assert mean_difference(quantised["probes"]["base"], manifest_of(adapter)["probes"]["base"]) > 0  # as the 4-bit base says it
