"""What a night leaves behind: data/runs/<run_id>/ with answers.json, card.png and, written last, manifest.json."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twin.sealing import write_private
from twin.settings import Settings

KEPT = 60  # folders; older ones are removed, their rows stay


def seal(settings: Settings, document: dict[str, Any], answers: Sequence[dict[str, str]]) -> Path:
    """Write the folder whole or not at all. The answers are people's words: for the owner's eyes only."""
    from trainer.card import draw_card

    folder = runs_path(settings) / str(document["run_id"])
    building = folder.with_name(folder.name + ".building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True, mode=0o700)
    if "figures" in document:
        draw_card(building / "card.png", document)
        write_private(building / "answers.json", json.dumps(answers, ensure_ascii=False, indent=1).encode())
    write_private(building / "manifest.json", json.dumps(document, ensure_ascii=False, indent=1, default=str).encode())
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(building, folder)
    _tidy(folder.parent)
    return folder


def runs_path(settings: Settings) -> Path:
    return settings.data / "runs"


def _tidy(folder: Path) -> None:
    for old in sorted(path for path in folder.iterdir() if path.is_dir())[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
