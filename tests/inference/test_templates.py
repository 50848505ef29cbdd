"""Every chat template that the installed packages ship, and those of more families: each holds the three invariants, or is refused with
the true reason. `pytest -s` shows the table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from family_templates import FAMILIES, Family

from inference.prompting import load_tokenizer
from twin.errors import ModelError
from twin.renderer import Renderer, TemplateRefused
from twin.turns import Turn, system_turn

PACKAGES = ("trl.chat_templates", "vllm.transformers_utils.chat_templates")
MARK = re.compile(
    r"<\|[^|<>\s'\"{}]{1,40}\|>|<｜[^｜<>]{1,40}｜>|\[/?(?:INST|SYSTEM_PROMPT|THINK|gMASK)\]|<(?:start|end)_of_(?:turn|utterance)>|</?think>"
    r"|<sop>|<\|(?:turn|channel|think)>|<(?:turn|channel)\|>"
)
PLAIN = "ends a reply with plain text"
REFUSED = {
    "Falcon": PLAIN,
    "template_basic": PLAIN,  # vLLM's of last resort: contents and nothing else
    "template_blip2": PLAIN,  # "Question: ... Answer:"
    "template_deepseek_ocr": PLAIN,  # contents and nothing else
    "template_kimi_audio": "drops, repeats or moves turns",  # it has no place for what was said before
}
ENDS = {
    "qwen3": "<|im_end|>",
    "qwen2_5": "<|im_end|>",
    "llama3_1": "<|eot_id|>",
    "llama3_2": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "gemma3": "<end_of_turn>",
    "glm4moe": "<|user|>",
    "deepseekv3": "<｜end▁of▁sentence｜>",
    "deepseek_r1_distill": "<｜end▁of▁sentence｜>",
    "gptoss": "<|end|>",
    "phi3": "<|end|>",
    "Phi-4": "<|im_end|>",
    "Llama 2": "</s>",
    "Mistral": "</s>",
    "Zephyr": "</s>",
    "Granite": "<|end_of_text|>",
}
THINKING = {
    "qwen3": "switched off",
    "Qwen3-Thinking": "closed by the twin",
    "deepseek_r1_distill": "closed by the twin",
    "glm4moe": "switched off",
    "SmolLM3": "switched off",
    "gptoss": "passed over to the channel of answers",
    "qwen2_5": "none",
}
TALK = [system_turn("Olga", "Ada"), Turn("user", "tea?"), Turn("assistant", "yes\nat 7"), Turn("user", "ok"), Turn("assistant", "bye 😊")]


def shipped() -> Iterator[tuple[str, str, Family]]:
    for package in PACKAGES:
        try:
            folder = resources.files(package.rpartition(".")[0].partition(".")[0]).joinpath(*package.split(".")[1:])
        except ModuleNotFoundError:
            continue
        for path in sorted(folder.iterdir(), key=lambda path: path.name):
            if path.name.endswith(".jinja"):
                template = path.read_text(encoding="utf-8")
                yield package, path.name.removesuffix(".jinja"), Family(template, "</s>", ("<s>", *sorted(set(MARK.findall(template)))))


KNOWN = {**{name: family for _, name, family in shipped()}, **FAMILIES}


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> Any:
    return load_tokenizer(base)


def renderer_of(tokenizer: Any, family: Family) -> Renderer:
    """With the sample model's words and this family's marks."""
    from copy import deepcopy

    from tokenizers import AddedToken

    mine = deepcopy(tokenizer)
    mine.add_tokens([AddedToken(mark, special=True, normalized=False) for mark in (family.eos, *family.special)])
    mine.bos_token, mine.eos_token, mine.chat_template = "<s>", family.eos, family.template
    return Renderer(mine)


def test_the_packages_ship_what_is_tried() -> None:
    assert {package for package, _, _ in shipped()} == set(PACKAGES), "run `make venv`"
    assert len(KNOWN) > 70
    assert {*REFUSED, *ENDS, *THINKING} <= set(KNOWN)


@pytest.mark.parametrize("name", KNOWN)
def test_a_template_holds_or_is_refused_with_the_true_reason(tokenizer: Any, name: str) -> None:
    if name in REFUSED:
        with pytest.raises(TemplateRefused, match=REFUSED[name]) as refusal:
            renderer_of(tokenizer, KNOWN[name])
        print(f"{name:34} refused  {refusal.value.what}")  # noqa: T201
        return
    renderer = renderer_of(tokenizer, KNOWN[name])

    def text(ids: list[int]) -> str:
        return str(renderer.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    print(f"{name:34} holds    system {renderer.system}; thinking {renderer.thinking}; ends {text(renderer.ends)}")  # noqa: T201
    row = renderer.row(TALK)
    said = [text(row.ids[first:end]) for _, first, end in row.spans]
    assert [renderer.text(row.ids[first:end]) for _, first, end in row.spans] == ["yes\nat 7", "bye 😊"]
    assert not [words for words in said if "think" in words or "channel" in words]
    for i, first, end in row.spans:
        assert renderer.prompt(TALK[:i]) == row.ids[:first]
        assert row.ids[end - 1] in renderer.ends
    if name in ENDS:
        assert said[-1].endswith(ENDS[name])
    if name in THINKING:
        assert renderer.thinking == THINKING[name]


@pytest.mark.parametrize("name", sorted(set(KNOWN) - set(REFUSED)))
def test_nobody_can_write_its_marks(tokenizer: Any, name: str) -> None:
    renderer = renderer_of(tokenizer, KNOWN[name])

    def asked(words: str) -> str:
        text = renderer.tokenizer.decode(
            renderer.prompt([TALK[0], Turn("user", words)]), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(text)

    innocent = asked("x")
    marks = renderer.marks
    forged = "\n".join(["x", *dict.fromkeys(m.group() for m in marks.finditer(innocent))])
    assert len(marks.findall(asked(forged))) == len(marks.findall(innocent))


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no usable tokenizer"):
        load_tokenizer(tmp_path)
