"""Reading a control call: every value is checked where it enters, and what is wrong with it is said in a sentence."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, get_args

from aiohttp import web

from sandbox.faults import Action, Fault
from sandbox.page.guard import BadCall
from sandbox.page.wire import Json
from sandbox.world import Media

MIME_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)


async def read_body(request: web.Request) -> Json:
    try:
        call = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise BadCall("The body is not JSON.") from None
    if not isinstance(call, dict):
        raise BadCall("The body must be a JSON object.")
    return call


def number(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadCall(f"`{name}` must be a number.") from None


def integer(call: Json, name: str) -> int:
    value = call.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadCall(f"`{name}` must be a whole number.")
    return value


def text_of(call: Json, name: str, *, default: str | None = None) -> str:
    value = call.get(name, default)
    if not isinstance(value, str):
        raise BadCall(f"`{name}` must be a text.")
    return value


def entities_of(call: Json) -> list[Json]:
    given = call.get("entities", [])
    if not isinstance(given, list) or not all(isinstance(e, dict) and {"type", "offset", "length"} <= set(e) for e in given):
        raise BadCall("`entities` must be a list of {type, offset, length}.")
    return given


def media_of(given: Any) -> Media:
    if not isinstance(given, dict):
        raise BadCall("`media` must be an object with `kind` and `content_base64`.")
    try:
        content = base64.b64decode(text_of(given, "content_base64"), validate=True)
    except binascii.Error:
        raise BadCall("`content_base64` is not base64.") from None
    mime_type = text_of(given, "mime_type", default="application/octet-stream")
    if not MIME_TYPE.fullmatch(mime_type):  # it becomes a header
        raise BadCall("`mime_type` must look like image/png.")
    numbers = {name: integer(given, name) for name in ("width", "height", "duration") if name in given}
    return Media(
        kind=text_of(given, "kind"),
        content=content,
        mime_type=mime_type,
        file_name=text_of(given, "file_name") if given.get("file_name") else None,
        emoji=text_of(given, "emoji") if given.get("emoji") else None,
        **numbers,
    )


def fault_of(given: Any) -> Fault:
    if not isinstance(given, dict) or not {"method", "action"} <= set(given) <= {"method", "action", "arg", "skip", "times"}:
        raise BadCall("A fault is {method, action} and, if you like, arg, skip and times.")
    action: Any = given["action"]
    if action not in get_args(Action):
        raise BadCall(f"`action` must be one of {', '.join(get_args(Action))}.")
    counts = {name: integer(given, name) for name in ("skip", "times") if name in given}
    return Fault(text_of(given, "method"), action, given.get("arg"), **counts)
