"""`twin import` takes an export, says what it skipped, and ends with 1 when something could not be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cli_scene import on_store, twin

from twin.store import messages

TEXT = {"type": "message", "date_unixtime": "1746000000", "date": "2025-04-30T08:00:00", "from": "Ada", "from_id": "user11"}


def export(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"name": "Ada", "type": "personal_chat", "id": 11, "messages": list(rows)}, indent=1))
    return path


def row(message_id: int, text: str, *, sender: str = "user11") -> dict[str, Any]:
    return {"id": message_id, **TEXT, "from_id": sender, "text": text, "text_entities": [{"type": "plain", "text": text}]}


def test_one_chat_is_imported_and_twice_does_no_harm(tmp_path: Path, data: Path) -> None:
    path = export(tmp_path / "result.json", row(1, "hi"), row(2, "hello", sender="user7"))
    first = twin("import", path, "--data", data, "--json")
    assert (first.code, first.document["new_messages"], first.document["complete"]) == (0, 2, True)
    assert twin("import", path, "--data", data, "--json").document["new_messages"] == 0
    assert [m.text for m in on_store(data, lambda connection: messages.history(connection, 11))] == ["hi", "hello"]


def test_what_cannot_be_read_is_named_and_the_rest_is_kept(tmp_path: Path, data: Path) -> None:
    path = export(tmp_path / "result.json", row(1, "hi"), row(2, "hello", sender="user7"))
    path.write_bytes(path.read_bytes()[:-40])
    ran = twin("import", path, "--data", data)
    assert ran.code == 1
    assert str(path) in ran.err
    assert "expected" in ran.err
    assert [m.text for m in on_store(data, lambda connection: messages.history(connection, 11))][:1] == ["hi"]


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path, data: Path) -> None:
    ran = twin("import", tmp_path / "nothing", "--data", data)
    assert ran.code == 1
    assert "does not exist" in ran.err
