"""Read the small JSON files that folders say of themselves with: manifests, configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twin.errors import InputError, TwinError


def read_object(path: Path, *, mend: str, error: type[TwinError] = InputError) -> dict[str, Any]:
    """The object in the file. Raises `error`, which names the file, if it cannot be read or holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise error(f"{path} cannot be read ({exc.strerror}).", mend=mend) from exc
    except (ValueError, RecursionError) as exc:  # no JSON, or no UTF-8
        raise error(f"{path} is damaged: expected a JSON object in UTF-8.", mend=mend) from exc
    if not isinstance(found, dict):
        raise error(f"{path} is damaged: expected a JSON object.", mend=mend)
    return found
