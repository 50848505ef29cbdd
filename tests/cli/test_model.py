"""`twin model`: what the twin makes of a base model, from tokenizer files and a configuration alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from cli_scene import twin

from trainer.base_model import SAMPLE, prepare_base_model

THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
PLAIN_TEXT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The sample model without its weights."""
    base = prepare_base_model(SAMPLE, Path(os.environ["TWIN_MODELS"]))
    target = tmp_path / "model"
    target.mkdir()
    for path in base.iterdir():
        if path.suffix in (".json", ".jinja") and path.name != "manifest.json":
            shutil.copy(path, target)
    return target


def write_template(folder: Path, template: str) -> None:
    config = folder / "tokenizer_config.json"
    kept = json.loads(config.read_text())
    kept.pop("chat_template", None)
    config.write_text(json.dumps(kept))
    (folder / "chat_template.jinja").write_text(template)


def test_tokenizer_files_and_a_configuration_are_enough(folder: Path) -> None:
    found = twin("model", folder, "--json").document
    assert (found["family"], found["context_length"], found["system_role"], found["thinking"]) == ("llama", 8192, "own", "none")
    assert found["invariants"] == {"spans": True, "ends": True, "prefix": True}
    assert found["end_tokens"] == ["<|im_end|>"]
    assert "⟦not much\nyou?<|im_end|>⟧" in found["row"]
    assert found["row"].replace("⟦", "").replace("⟧", "").startswith(found["prompt"])
    assert found["refused"] is None


def test_it_is_told_in_words_as_well(folder: Path) -> None:
    ran = twin("model", folder)
    assert ran.code == 0
    assert "8,192 tokens" in ran.out
    assert "a reply ends with a token that stops both engines" in ran.out


def test_a_thought_that_the_template_opens_is_closed(folder: Path) -> None:
    write_template(folder, THINKS)
    found = twin("model", folder, "--json").document
    assert found["thinking"] == "closed by the twin"
    assert found["prompt"].endswith("<think>\n\n</think>\n\n")
    assert "⟦sure<|im_end|>⟧" in found["row"]


def test_what_cannot_be_used_is_refused_with_the_reason(folder: Path) -> None:
    write_template(folder, PLAIN_TEXT)
    ran = twin("model", folder, "--json")
    assert ran.code == 1
    assert "ends a reply with plain text" in ran.document["refused"]
    assert ran.document["invariants"] == {"spans": False, "ends": False, "prefix": False}
    assert "The twin cannot use it" in twin("model", folder).out


@pytest.mark.parametrize(("name", "words"), [("./nowhere", "is no folder"), ("/nowhere/at/all", "is no folder")])
def test_a_path_that_leads_nowhere_is_said(name: str, words: str) -> None:
    ran = twin("model", name)
    assert ran.code != 0
    assert words in ran.err


def test_an_empty_folder_has_no_tokenizer(tmp_path: Path) -> None:
    assert "no usable tokenizer" in twin("model", tmp_path, "--json").document["refused"]
