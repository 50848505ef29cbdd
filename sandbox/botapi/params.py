"""Parameters of a call as clients really send them: query string, URL-encoded form, multipart or JSON.

A form carries everything as strings, and aiogram sends even the integers inside JSON objects as strings, so every reader here
takes both. Unknown parameters are ignored, as the real server does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

from sandbox.botapi.errors import bad_request

INTEGERS = frozenset({"chat_id", "message_id", "draft_id", "offset", "limit", "timeout"})
OBJECTS = frozenset(
    {
        "reply_markup",
        "reply_parameters",
        "entities",
        "caption_entities",
        "allowed_updates",
        "message_ids",
        "commands",
        "scope",
        "media",
        "reaction",
    }
)


@dataclass(frozen=True)
class Upload:
    """A file that came with the call."""

    content: bytes = field(repr=False)
    file_name: str | None = None
    content_type: str = "application/octet-stream"


def to_int(value: Any) -> int | None:
    """The integer that this is or spells, else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    return None


def to_bool(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() in ("true", "yes", "1")) or (isinstance(value, int) and value != 0)


class Params:
    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) not in (None, "")

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if value is None:
            return ""
        return value if isinstance(value, str) else str(value)

    def integer(self, name: str, default: int = 0) -> int:
        value = to_int(self.values.get(name))
        return default if value is None else value

    def boolean(self, name: str) -> bool:
        return to_bool(self.values.get(name))

    def json(self, name: str) -> Any:
        """An object or array, given as such or as JSON text; None if absent."""
        value = self.values.get(name)
        if not isinstance(value, str):
            return value
        if not value:
            return None
        try:
            return json.loads(value)
        except ValueError:
            raise bad_request(f"can't parse {name.replace('_', ' ')} JSON object") from None

    def array(self, name: str) -> list[Any] | None:
        value = self.json(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise bad_request(f"expected an Array of {name.replace('_', ' ')}")
        return value

    def object(self, name: str) -> dict[str, Any] | None:
        value = self.json(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise bad_request(f"object expected as {name.replace('_', ' ')}")
        return value

    def upload(self, value: Any) -> Upload | None:
        """The file behind a parameter's value: the upload itself or `attach://NAME`."""
        if isinstance(value, str) and value.startswith("attach://"):
            value = self.values.get(value.removeprefix("attach://"))
        return value if isinstance(value, Upload) else None

    def readable(self) -> dict[str, Any]:
        """The values for the call log: integers and JSON as such, however they came."""
        values = dict(self.values)
        for name, value in self.values.items():
            if name in INTEGERS:
                number = to_int(value)
                values[name] = value if number is None else number
            elif name in OBJECTS and isinstance(value, str):
                try:
                    values[name] = json.loads(value)
                except ValueError:
                    pass
        return values


async def read_params(request: web.Request) -> Params:
    values: dict[str, Any] = dict(request.query)
    if not request.can_read_body:
        return Params(values)
    if request.content_type == "application/json":
        try:
            body = await request.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise bad_request("can't parse request: JSON object expected")
        values.update(body)
    elif request.content_type == "multipart/form-data":
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or part.name is None:
                continue
            values[part.name] = await read_part(part)
    else:
        values.update(await request.post())
    return Params(values)


async def read_part(part: BodyPartReader) -> str | Upload:
    if part.filename is None:
        return await part.text(encoding="utf-8")
    return Upload(bytes(await part.read()), part.filename, part.headers.get("Content-Type", "application/octet-stream"))
