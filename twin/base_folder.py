"""What a prepared base model folder says of itself: the name that adapters carry, and its tokenizer's fingerprint."""

from __future__ import annotations

import hashlib
from pathlib import Path

from twin.errors import ModelError
from twin.reading import read_object

AGAIN = "Fetch or make the base model again."


def base_name(base: Path) -> str:
    """The base model's public name if its folder knows it (`manifest.json`), else the folder's."""
    manifest = base / "manifest.json"
    return str(read_object(manifest, mend=AGAIN, error=ModelError).get("base", base.name)) if manifest.exists() else base.name


def tokenizer_hash(base: Path) -> str:
    """What an adapter's manifest keeps: an adapter trained with one tokenizer must not be served with another."""
    digest = hashlib.sha256()
    for name in ("tokenizer.json", "chat_template.jinja"):
        if (base / name).exists():
            digest.update((base / name).read_bytes())
    return digest.hexdigest()
