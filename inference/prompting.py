"""Turns -> token ids that fit, token ids -> a turn's text. Both engines use these, so their prompts are the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twin.base_folder import AGAIN
from twin.errors import ModelError
from twin.lean_imports import lean_imports
from twin.reading import read_object
from twin.renderer import Renderer
from twin.turns import Turn


def load_tokenizer(base: Path) -> Any:
    """The base model's tokenizer. Takes some seconds (it imports transformers), so call it in a thread."""
    try:
        with lean_imports():
            from transformers import AutoTokenizer
    except ImportError as exc:
        raise ModelError("transformers is not installed.", mend="Run `make venv`.") from exc
    try:
        return AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as exc:
        raise ModelError(f"{base.name} has no usable tokenizer ({type(exc).__name__}).", mend="Check TWIN_MODEL__BASE.") from exc


def fit_prompt(renderer: Renderer, turns: Sequence[Turn], max_prompt_tokens: int) -> list[int]:
    """Token ids of the newest part of the conversation that fits into `max_prompt_tokens`.

    Whole turns go from the front; the system turn stays. Of a last turn that is too long by itself the end is kept, because
    a long message must still be answered.
    """
    system = list(turns[:1]) if turns and turns[0].role == "system" else []
    rest = list(turns[len(system) :])
    for start in range(_earliest_start(renderer, rest, max_prompt_tokens), len(rest)):
        ids = renderer.prompt([*system, *rest[start:]])
        if len(ids) <= max_prompt_tokens:
            return ids

    def with_system(length: int) -> list[int]:
        return renderer.prompt([*(Turn("system", turn.content[:length]) for turn in system), *(Turn(turn.role, "") for turn in rest[-1:])])

    # Names can be long in tokens (128 emoji are 500): the system turn may take half, the message needs the other.
    if system and len(with_system(len(system[0].content))) > max_prompt_tokens // 2:
        length = _longest(len(system[0].content), lambda n: len(with_system(n)) <= max_prompt_tokens // 2)
        system = [Turn("system", system[0].content[:length])]

    def with_end(length: int) -> list[int]:
        return renderer.prompt([*system, *(Turn(turn.role, turn.content[len(turn.content) - length :]) for turn in rest[-1:])])

    return with_end(_longest(len(rest[-1].content) if rest else 0, lambda n: len(with_end(n)) <= max_prompt_tokens))


def _earliest_start(renderer: Renderer, turns: Sequence[Turn], max_prompt_tokens: int) -> int:
    """Skips what cannot fit without rendering it: a day's conversation has thousands of turns."""
    left = max_prompt_tokens
    start = len(turns)
    while start > 0 and left > 0:
        start -= 1
        left -= renderer.count(turns[start])
    return start


def _longest(longest: int, fits: Callable[[int], bool]) -> int:
    """The largest length that fits, by bisection; 0 if none does."""
    low, high = 0, longest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def stop_token_ids(base: Path, renderer: Renderer) -> list[int]:
    """Tokens that end a turn: those that training supervises, the tokenizer's end token, and those the model's makers name."""
    path = base / "generation_config.json"
    named = read_object(path, mend=AGAIN, error=ModelError).get("eos_token_id") if path.exists() else None
    ids = [*renderer.ends, getattr(renderer.tokenizer, "eos_token_id", None), *(named if isinstance(named, list) else [named])]
    return sorted({int(i) for i in ids if i is not None})
