"""What must hold of an adapter before it answers anybody: it is whole, it belongs to this base model, and it acts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twin.base_folder import base_name, tokenizer_hash
from twin.errors import ModelError
from twin.generator import ActiveAdapter
from twin.turns import Renderer, Turn

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # vLLM joins names to paths and URLs as they are

# Bases are compared with adapters on these. Their own tokens are scored, nothing is generated.
PROBES = (
    (
        Turn("system", "You are Robin, chatting with Kim."),
        Turn("user", "hey, what are you up to tonight?"),
        Turn("assistant", "not much, probably cooking something"),
        Turn("user", "nice, can I come over?"),
    ),
    (Turn("system", "You are Robin, chatting with Kim."), Turn("user", "did you see the match? I still can't believe it")),
)


def check_adapter(adapter: ActiveAdapter, base: Path) -> dict[str, Any]:
    """Raise ModelError unless the folder is sealed and was trained on this base model. Returns `adapter_config.json`."""
    if not NAME.fullmatch(adapter.name):
        raise ModelError(f"{adapter.name!r} cannot be an adapter's name.", mend="Use letters, digits, '.', '_' and '-'.")
    manifest = _read(adapter, "manifest.json")
    config = _read(adapter, "adapter_config.json")
    wanted = base_name(base)
    trained_on = {str(config.get("base_model_name_or_path")), str(_of_base(manifest, "name") or wanted)}
    if trained_on != {wanted}:
        other = ", ".join(sorted(trained_on - {wanted}))
        raise ModelError(
            f"Adapter {adapter.name} was trained on {other}, not on {wanted}.", mend="Set TWIN_MODEL__BASE back or train a new adapter."
        )
    if (_of_base(manifest, "tokenizer") or tokenizer_hash(base)) != tokenizer_hash(base):
        raise ModelError(
            f"Adapter {adapter.name} was trained with another tokenizer or chat template than {wanted} has now.",
            mend="Train a new adapter: `twin train --full`.",
        )
    return config


def probe_prompts(renderer: Renderer) -> list[list[int]]:
    return [renderer.prompt(turns) for turns in PROBES]


def require_effect(name: str, base: Sequence[float], tuned: Sequence[float], floor: float) -> None:
    """Raise ModelError unless the adapter moves the probes' log-probabilities by more than `floor` nats a token.

    An adapter whose module names do not match loads without a word and does nothing (vllm issues 34186, 48019).
    """
    if mean_difference(base, tuned) <= floor:
        raise ModelError(
            f"Adapter {name} loads but changes nothing: its weights do not fit this model's layers or are empty.",
            mend="The former adapter stays. Train again with `twin train --full`.",
        )


def mean_difference(one: Sequence[float], other: Sequence[float]) -> float:
    """Mean absolute difference, nats a token."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def _read(adapter: ActiveAdapter, name: str) -> dict[str, Any]:
    try:
        found = json.loads((adapter.path / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ModelError(f"Adapter {adapter.name} is not whole: {name} cannot be read in its folder.", mend="Train it again.") from exc
    if not isinstance(found, dict):
        raise ModelError(f"Adapter {adapter.name} is not whole: {name} is no JSON object.", mend="Train it again.")
    return found


def _of_base(manifest: dict[str, Any], key: str) -> Any:
    base = manifest.get("base")
    return base.get(key) if isinstance(base, dict) else None
