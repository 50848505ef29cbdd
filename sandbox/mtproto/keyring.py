"""Auth keys in a file, so that clients stay signed in when the sandbox restarts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from sandbox.mtproto.session import AuthKey


def load(path: Path) -> dict[int, AuthKey]:
    if not path.exists():
        return {}
    keys = [AuthKey(bytes.fromhex(row["key"]), row["account_id"]) for row in json.loads(path.read_text())]
    return {key.id: key for key in keys}


def save(path: Path, keys: Iterable[AuthKey]) -> None:
    """Replace the file in one step."""
    rows = [{"key": key.data.hex(), "account_id": key.account_id} for key in keys]
    fresh = path.with_name(path.name + ".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(rows))
    os.replace(fresh, path)
