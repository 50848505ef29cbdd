"""What the twin makes of a base model, from its tokenizer and configuration alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inference.prompting import load_tokenizer, stop_token_ids
from twin.errors import ModelError
from twin.renderer import INVARIANTS, Renderer, TemplateRefused
from twin.turns import Turn, join_bubbles, system_turn

BEGIN, END = "⟦", "⟧"  # around what training makes likelier
TALK = [
    system_turn("Robin", "Kim"),
    Turn("user", "hey, what are you up to tonight?"),
    Turn("assistant", join_bubbles(["not much", "you?"])),
    Turn("user", "tea at 7?"),
    Turn("assistant", "sure"),
]


@dataclass(frozen=True)
class Examination:
    """`row`: a training row as text, what is trained between ⟦ and ⟧; `prompt`: what serving sends for its last reply. `refused`: why
    the twin cannot use the model, None if it can; what was not shown before then counts as not holding in `invariants`."""

    family: str
    context_length: int | None
    system_role: str | None = None
    thinking: str | None = None
    end_tokens: list[str] = field(default_factory=list)
    invariants: dict[str, bool] = field(default_factory=lambda: {str(name): False for name in INVARIANTS})
    row: str = ""
    prompt: str = ""
    refused: str | None = None


def examine(folder: Path) -> Examination:
    """Read a folder with tokenizer files and, if there is one, a config.json. Loads no weights."""
    config = _config(folder)
    known = Examination(str(config.get("model_type") or "unknown"), _context_length(config))
    try:
        renderer = Renderer(load_tokenizer(folder))
    except TemplateRefused as exc:
        return replace(known, refused=exc.what, invariants={name: name in exc.shown for name in INVARIANTS})
    except ModelError as exc:
        return replace(known, refused=exc.what)
    row = renderer.row(TALK)
    return replace(
        known,
        system_role=renderer.system,
        thinking=renderer.thinking,
        end_tokens=[_text(renderer, [i]) for i in stop_token_ids(folder, renderer)],
        invariants=dict.fromkeys(INVARIANTS, True),
        row=_marked(renderer, row.ids, [(first, end) for _, first, end in row.spans]),
        prompt=_text(renderer, renderer.prompt(TALK[:-1])),
    )


def _context_length(config: dict[str, Any]) -> int | None:
    of_text = config.get("text_config")
    found = (of_text if isinstance(of_text, dict) else config).get("max_position_embeddings")
    return found if isinstance(found, int) else None


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError, RecursionError) as exc:
        raise ModelError(f"{path} cannot be read ({type(exc).__name__}).", mend="Fetch the model again.") from exc
    return found if isinstance(found, dict) else {}


def _marked(renderer: Renderer, ids: list[int], spans: list[tuple[int, int]]) -> str:
    text, at = "", 0
    for first, end in spans:
        text += _text(renderer, ids[at:first]) + BEGIN + _text(renderer, ids[first:end]) + END
        at = end
    return text + _text(renderer, ids[at:])


def _text(renderer: Renderer, ids: list[int]) -> str:
    return str(renderer.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
