"""A base model is prepared once, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from small_models import save_tiny_llama

import trainer.base_model
from trainer.base_model import SAMPLE, prepare_base_model
from trainer.dataset_reader import load_tokenizer
from twin.base_folder import base_name, tokenizer_hash
from twin.errors import ModelError
from twin.renderer import Renderer
from twin.turns import Turn


def test_the_sample_model_is_whole_and_has_a_chat_template(base):
    manifest = json.loads((base / "manifest.json").read_text())
    assert manifest["base"] == SAMPLE == base_name(base)
    assert list(manifest["weights"]) == ["model.safetensors"]
    assert Renderer(load_tokenizer(base)).prompt([Turn("user", "hi")])


@pytest.mark.slow
def test_the_sample_model_speaks(base):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    tokenizer = load_tokenizer(base)
    ids = Renderer(tokenizer).prompt([Turn("system", "You are helpful."), Turn("user", "What is the capital of France?")])
    said = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), do_sample=False, max_new_tokens=12)
    assert "Paris" in tokenizer.decode(said[0, len(ids) :])


def test_what_is_prepared_is_not_prepared_again(base, monkeypatch):
    monkeypatch.setattr(trainer.base_model, "_convert_sample", lambda *_: pytest.fail("it converted again"))
    assert prepare_base_model(SAMPLE, base.parent) == base


def test_a_folder_is_used_as_it_is(tiny_base, tmp_path):
    assert prepare_base_model(str(tiny_base), tmp_path) == tiny_base.resolve()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_chat_template_is_refused(base, tmp_path):
    folder = save_tiny_llama(tmp_path / "plain", base)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template"):
        prepare_base_model(str(folder), tmp_path)


def test_another_chat_template_is_another_tokenizer(base, tmp_path):
    folder = save_tiny_llama(tmp_path / "tiny", base)
    before = tokenizer_hash(folder)
    assert before == tokenizer_hash(save_tiny_llama(tmp_path / "other weights", base, seed=1))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert tokenizer_hash(folder) != before


@pytest.fixture
def hub(base: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """A hub that has example/tiny; returns what was asked of it."""
    asked: list[tuple[str, str | None]] = []

    def snapshot_download(name: str, *, revision: str | None, local_dir: Path, allow_patterns: list[str]) -> None:
        asked.append((name, revision))
        if name != "example/tiny":
            raise LocalEntryNotFoundError("no such model, or no network")
        save_tiny_llama(local_dir, base)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_a_model_of_the_hub_is_fetched_once(hub, tmp_path):
    first = prepare_base_model("example/tiny", tmp_path, revision="0123456789abcdef")
    assert prepare_base_model("example/tiny", tmp_path, revision="0123456789abcdef") == first
    assert hub == [("example/tiny", "0123456789abcdef")] * 2, "what a talk is made tokens with, then the weights, and never again"
    assert first.name == "example--tiny@0123456789ab"
    assert base_name(first) == "example/tiny"
    assert prepare_base_model("example/tiny", tmp_path).name == "example--tiny"


def test_what_cannot_be_fetched_is_said_and_leaves_nothing(hub, tmp_path):
    with pytest.raises(ModelError, match="example/missing cannot be fetched"):
        prepare_base_model("example/missing", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_kill_while_preparing_leaves_no_model(hub, tmp_path, monkeypatch):
    def killed(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.base_model, "_digest", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare_base_model("example/tiny", tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(trainer.base_model, "_digest", lambda folder: {})
    assert (prepare_base_model("example/tiny", tmp_path) / "manifest.json").exists()


def test_without_its_package_the_sample_model_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer.base_model.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="make venv"):
        prepare_base_model(SAMPLE, tmp_path)
