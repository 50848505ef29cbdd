"""What must hold of an adapter's folder before it is loaded: it is whole, and it belongs to this base model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from twin.base_folder import base_name, tokenizer_hash
from twin.errors import ModelError
from twin.generator import ActiveAdapter

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # vLLM joins names to paths and URLs as they are


def check_adapter(adapter: ActiveAdapter, base: Path) -> dict[str, Any]:
    """Raise ModelError unless the folder is sealed and was trained on this base model. Returns `adapter_config.json`."""
    if not NAME.fullmatch(adapter.name):
        raise ModelError(f"{adapter.name!r} cannot be an adapter's name.", mend="Use letters, digits, '.', '_' and '-'.")
    manifest = read_json(adapter, "manifest.json")
    config = read_json(adapter, "adapter_config.json")
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


def read_json(adapter: ActiveAdapter, name: str) -> dict[str, Any]:
    try:
        found = json.loads((adapter.path / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise ModelError(f"Adapter {adapter.name} is not whole: {name} cannot be read in its folder.", mend="Train it again.") from exc
    if not isinstance(found, dict):
        raise ModelError(f"Adapter {adapter.name} is not whole: {name} is no JSON object.", mend="Train it again.")
    return found


def _of_base(manifest: dict[str, Any], key: str) -> Any:
    base = manifest.get("base")
    return base.get(key) if isinstance(base, dict) else None
