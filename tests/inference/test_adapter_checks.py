"""An adapter answers for the base model it was trained on, whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from adapter_folders import change_json
from small_tokenizer import save_empty_adapter

from inference.adapters import check_adapter
from inference.proof import require_effect
from trainer.base_model import tokenizer_hash as trainers_tokenizer_hash
from twin.base_folder import base_name, tokenizer_hash
from twin.errors import ModelError
from twin.generator import ActiveAdapter


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"base": "small"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def test_a_whole_adapter_of_this_base_passes(small: Path, tmp_path: Path) -> None:
    adapter = ActiveAdapter("voice", save_empty_adapter(tmp_path / "voice"))
    change_json(adapter.path, "manifest.json", base={"name": "small", "tokenizer": tokenizer_hash(small)})
    assert check_adapter(adapter, small)["peft_type"] == "LORA"


def test_another_base_is_refused_by_name(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="trained on larger, not on small"):
        check_adapter(ActiveAdapter("voice", save_empty_adapter(tmp_path / "voice", base="larger")), small)


def test_peft_and_the_manifest_must_both_name_this_base(small: Path, tmp_path: Path) -> None:
    adapter = ActiveAdapter("voice", save_empty_adapter(tmp_path / "voice"))
    change_json(adapter.path, "adapter_config.json", base_model_name_or_path="larger")
    with pytest.raises(ModelError, match="trained on larger"):
        check_adapter(adapter, small)


def test_another_chat_template_is_refused(small: Path, tmp_path: Path) -> None:
    adapter = ActiveAdapter("voice", save_empty_adapter(tmp_path / "voice"))
    change_json(adapter.path, "manifest.json", base={"name": "small", "tokenizer": tokenizer_hash(small)})
    (small / "chat_template.jinja").write_text("{{ messages }} changed")
    with pytest.raises(ModelError, match="another tokenizer or chat template"):
        check_adapter(adapter, small)


@pytest.mark.parametrize("missing", ["manifest.json", "adapter_config.json"])
def test_a_folder_that_a_crash_left_is_refused(small: Path, tmp_path: Path, missing: str) -> None:
    adapter = ActiveAdapter("voice", save_empty_adapter(tmp_path / "voice"))
    (adapter.path / missing).unlink()
    with pytest.raises(ModelError, match=f"not whole: {missing}"):
        check_adapter(adapter, small)


@pytest.mark.parametrize("name", ["../voice", "a/b", "", ".hidden", "a b"])
def test_a_name_that_is_a_path_is_refused(small: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="cannot be an adapter's name"):
        check_adapter(ActiveAdapter(name, tmp_path), small)


def test_an_adapter_without_effect_is_refused() -> None:
    require_effect("voice", [-1.0, -2.0], [-1.5, -2.0], floor=0.01)
    with pytest.raises(ModelError, match="changes nothing"):
        require_effect("voice", [-1.0, -2.0], [-1.001, -2.0], floor=0.01)


def test_trainer_and_inference_fingerprint_a_tokenizer_alike(small: Path) -> None:
    assert tokenizer_hash(small) == trainers_tokenizer_hash(small)
    assert base_name(small) == "small"
