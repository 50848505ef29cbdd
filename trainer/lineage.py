"""The adapter that a run goes on from: what it is, what it knows, and its weights as the start of the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twin.base_folder import base_name, tokenizer_hash
from twin.errors import ModelError
from twin.renderer import Rendering, was_other
from twin.settings import Training

WEIGHTS = "adapter_model.safetensors"
FULL = "Start from the base model: `twin train --full`, or `/retrain full`."


def other_rendering(name: str) -> str:
    return f"{name} was trained before an upgrade that writes chats for this base model in another way."


@dataclass(frozen=True)
class Parent:
    """A sealed adapter. `learned_until`: unix seconds for each dialog (as text) of the newest reply that it was trained on."""

    name: str
    path: Path
    dialog_ids: tuple[int, ...]
    learned_until: Mapping[str, int]
    rendering: Rendering | None = None

    def require_rendering(self, now: Rendering) -> None:
        """Raises ModelError if its rows were made in another way."""
        if was_other(self.rendering, now):
            raise ModelError(other_rendering(self.name), mend=FULL)

    def put_into(self, model: Any) -> None:
        """Give the model's fresh LoRA this adapter's weights, bit by bit. Raises ModelError if one does not fit."""
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        kept = load_file(self.path / WEIGHTS)
        outcome = set_peft_model_state_dict(model, kept)
        lora = [name for name in outcome.missing_keys if "lora_" in name]
        if lora or outcome.unexpected_keys:
            raise ModelError(f"Adapter {self.name} has other layers than this model.", mend=FULL)


def read_parent(folder: Path, base: Path, training: Training) -> Parent:
    """Raises ModelError unless the folder is sealed, belongs to this base model and has the shape that the settings ask for."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        parent = Parent(folder.name, folder, tuple(manifest["dialog_ids"]), dict(manifest["learned_until"]), manifest.get("rendering"))
        trained_on, shape = manifest["base"], (config["r"], config["lora_alpha"])
        changed = manifest["files"][WEIGHTS] != hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as exc:
        raise ModelError(f"Adapter {folder.name} is not complete, or too old to go on from.", mend=FULL) from exc
    if changed:
        raise ModelError(f"The weights of adapter {folder.name} were changed after it was sealed.", mend=FULL)
    if trained_on != {"name": base_name(base), "tokenizer": tokenizer_hash(base)}:
        raise ModelError(f"Adapter {folder.name} was trained on another base model than {base_name(base)}.", mend=FULL)
    if shape != (training.r, training.alpha):
        raise ModelError(
            f"Adapter {folder.name} has r={shape[0]}, alpha={shape[1]}; the settings ask for r={training.r}, alpha={training.alpha}.",
            mend=FULL,
        )
    return parent


def learned_until(train_until: Mapping[str, int], parent: Parent | None) -> dict[str, int]:
    """What the new adapter knows: its dataset's newest replies, and what its parent knew of dialogs that are not in it."""
    known = dict(parent.learned_until) if parent else {}
    return {dialog: max(known.get(dialog, 0), train_until.get(dialog, 0)) for dialog in sorted(known.keys() | train_until.keys())}
