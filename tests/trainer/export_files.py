"""Exports as Telegram Desktop writes them, with invented people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

OWNER = 1000
ADA, BEN = 2001, 2002
START = 1_700_000_000


def message(number: int, sender: int = ADA, text: Any = None, **more: Any) -> dict[str, Any]:
    """One message, keys in tdesktop's order."""
    found = {
        "id": number,
        "type": "message",
        "date": "2023-11-14T22:13:20",
        "date_unixtime": str(START + 60 * number),
        "from": f"Person {sender}",
        "from_id": f"user{sender}",
        **more,
        "text": f"line {number}" if text is None else text,
    }
    found["text_entities"] = [{"type": "plain", "text": found["text"]}] if isinstance(found["text"], str) else found["text"]
    return found


def chat(
    dialog_id: int = ADA, messages: list[Any] | None = None, *, name: str | None = "Ada", kind: str = "personal_chat"
) -> dict[str, Any]:
    rows = talk(dialog_id) if messages is None else messages
    return {"name": name, "type": kind, "id": dialog_id, "messages": rows}


def talk(dialog_id: int, count: int = 6, first: int = 1) -> list[dict[str, Any]]:
    """Contact and owner in turns."""
    return [message(first + i, OWNER if i % 2 else dialog_id) for i in range(count)]


def account(*chats: dict[str, Any], owner: int | None = OWNER) -> dict[str, Any]:
    """The export of a whole account."""
    personal = {"personal_information": {"user_id": owner, "first_name": "Olga", "phone_number": "+1 000"}} if owner else {}
    return {
        "about": "Here is the data you requested.",
        **personal,
        "profile_pictures": [],
        "contacts": {"about": "", "list": [{"user_id": ADA, "first_name": "Ada", "phone_number": "+1 001"}]},
        "chats": {"about": "This page lists all chats.", "list": list(chats)},
        "left_chats": {"about": "", "list": []},
    }


def dumped(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1)


def written(folder: Path, content: Any, name: str = "result.json") -> Path:
    """A file of `content`: a text or bytes as they are, anything else as JSON."""
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else dumped(content), encoding="utf-8")
    return path
