"""General instructions: what keeps a model able to talk about anything while it learns one person's voice.

Three common forms are read, told apart by their keys (LLaMA-Factory documents the same three):

    chat JSONL   {"messages": [{"role": "system" | "user" | "assistant", "content"}]} a line
    ShareGPT     {"conversations": [{"from": "system" | "human" | "gpt", "value"}]}, a JSON list or one a line
    Alpaca       {"instruction", "input", "output"}, a JSON list or one a line

Every fourth row is held out: nothing trains on it, the gate measures there what the model has forgotten.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twin.errors import InputError
from twin.turns import Role, Turn

SHIPPED = Path(__file__).with_name("data") / "generic.jsonl"
SYSTEM = Turn("system", "You are a helpful assistant.")
HELD_OUT_EVERY = 4
ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}

Talk = tuple[Turn, ...]


def training_rows(path: Path | None) -> list[Talk]:
    """What may be trained on, of the file or of the one that is shipped. Raises InputError as `read_instructions`."""
    return [talk for i, talk in enumerate(read_instructions(path or SHIPPED)) if (i + 1) % HELD_OUT_EVERY]


def held_out(path: Path | None) -> list[Talk]:
    """What nothing trains on."""
    return read_instructions(path or SHIPPED)[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]


def read_instructions(path: Path) -> list[Talk]:
    """Every row as turns: a system turn, then contact and assistant in turn, an assistant's turn last.

    Raises InputError that names the file, the row and what was expected there.
    """
    found = []
    for number, row in enumerate(_rows(path), 1):
        turns = _turns(row)
        spoken = [turn for turn in turns if turn.role != "system"]
        roles = [turn.role for turn in spoken]
        if not turns or len(spoken) < len(turns) - 1 or roles != [("user", "assistant")[i % 2] for i in range(len(roles))]:
            raise InputError(
                f"{path}, row {number}: expected an instruction with its answer (messages, conversations, or instruction and output).",
                mend="Take the row out or mend it.",
            )
        if not spoken or spoken[-1].role != "assistant" or not all(turn.content.strip() for turn in spoken):
            raise InputError(f"{path}, row {number}: an answer is missing or empty.", mend="Take the row out or mend it.")
        system = next((turn for turn in turns if turn.role == "system" and turn.content.strip()), SYSTEM)
        found.append((system, *spoken))
    return found


def digest(path: Path | None) -> str:
    """Of the file's bytes, for whoever keeps what depends on it. Raises InputError if there is none."""
    return hashlib.sha256(_bytes(path or SHIPPED)).hexdigest()[:16]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise InputError(f"{path} cannot be read as a file of instructions.", mend="Check TWIN_TRAINING__GENERIC_PATH.") from exc


def _rows(path: Path) -> Iterator[Any]:
    try:
        text = _bytes(path).decode("utf-8-sig")  # Windows' editors write a mark first
    except UnicodeDecodeError as exc:
        raise InputError(f"{path} is not UTF-8 text.", mend="Save it as UTF-8.") from exc
    try:
        if text.lstrip().startswith("["):
            yield from json.loads(text)
            return
        for number, line in enumerate(text.split("\n"), 1):  # noqa: B007 - named in the error
            if line.strip():
                yield json.loads(line)
    except json.JSONDecodeError as exc:
        place = f"line {exc.lineno}" if text.lstrip().startswith("[") else f"line {number}"
        raise InputError(f"{path}, {place}: expected JSON.", mend="A JSON list, or one JSON object a line.") from None


def _turns(row: Any) -> list[Turn]:
    """The row's turns; none if it has no known form."""
    if not isinstance(row, dict):
        return []
    said = row.get("messages", row.get("conversations"))
    if isinstance(said, list):
        keys = ("role", "content") if "messages" in row else ("from", "value")
        if not all(isinstance(s, dict) and s.get(keys[0]) in ROLES and isinstance(s.get(keys[1]), str) for s in said):
            return []
        return [Turn(ROLES[s[keys[0]]], s[keys[1]].strip()) for s in said]
    if isinstance(row.get("instruction"), str) and isinstance(row.get("output"), str):
        more = row.get("input") or ""
        return [Turn("user", f"{row['instruction']}\n\n{more}".strip()), Turn("assistant", row["output"].strip())]
    return []
