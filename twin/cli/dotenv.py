"""Write .env files: one setting a line, quoted, for the owner's eyes alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from twin.sealing import write_private


def write_env(path: Path, values: Mapping[str, object], *, heading: str = "") -> None:
    """Replace the file in one step. JSON's quoting is dotenv's too for what settings hold."""
    lines = [f"# {heading}"] if heading else []
    lines += [f"{name}={json.dumps(str(value), ensure_ascii=False)}" for name, value in values.items()]
    write_private(path, ("\n".join(lines) + "\n").encode("utf-8"))
