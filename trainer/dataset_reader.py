"""A sealed dataset folder, read again, and the tokenizer that its tokens are counted with. Needs neither the store nor Telegram."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.examples import Example
from trainer.verdicts import Split
from twin.errors import InputError
from twin.lean_imports import lean_imports
from twin.turns import Turn


def load_tokenizer(base: Path) -> Any:
    with lean_imports():
        from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base)


def is_dataset(folder: Path) -> bool:
    """Whether the folder is sealed: a manifest is written last, so its presence means complete."""
    return (folder / "manifest.json").exists()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises InputError if the folder is not a sealed dataset."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise InputError(f"{folder} is not a complete dataset (no readable manifest.json).", mend="Build it with `twin dataset`.") from exc
    if not isinstance(manifest, dict) or not {"files", "rules", "tokenizer", "dialog_ids", "train_until"} <= manifest.keys():
        raise InputError(f"{folder} is not a dataset (its manifest.json is of something else).", mend="Build one with `twin dataset`.")
    return manifest


def read_examples(folder: Path, split: Split) -> Iterator[Example]:
    """The examples of one split, in order. Raises InputError if the file is not what the manifest sealed."""
    sealed = read_manifest(folder)["files"]
    path = folder / f"{split}.jsonl"
    content = path.read_bytes() if path.exists() else b"?"
    if hashlib.sha256(content).hexdigest() != sealed.get(path.name):
        raise InputError(f"{path} was changed after it was sealed.", mend="Delete the folder and run `twin dataset`.")
    for line in content.splitlines():  # of bytes: str.splitlines would also cut at U+2028, which people do paste
        row = json.loads(line)
        yield Example(
            row["dialog_id"], split, tuple(Turn(role, text) for role, text in row["turns"]), tuple(row["targets"]), tuple(row["at"])
        )
