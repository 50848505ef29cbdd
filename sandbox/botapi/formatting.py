"""From a call's text, parse_mode and entities to the text that is kept."""

from __future__ import annotations

from typing import Any

from sandbox.botapi.errors import bad_request
from sandbox.botapi.html import parse_html
from sandbox.botapi.markdown import parse_markdown
from sandbox.botapi.markdown_legacy import parse_markdown_legacy
from sandbox.botapi.params import Params, to_int
from sandbox.botapi.spans import Entity, Unparsable, trim, utf16_length

FIELDS = ("url", "language", "custom_emoji_id", "user", "unix_time", "date_time_format")


def read_text(params: Params, name: str, *, limit: int, too_long: str) -> tuple[str, list[Entity]]:
    """The text of parameter `name` without its markup, trimmed, and its entities.

    Errors: "can't parse entities: ...", `too_long` past `limit` UTF-16 units after parsing. An empty text is the caller's matter.
    """
    source = params.text(name)
    mode = params.text("parse_mode").lower()
    given = params.array("entities" if name == "text" else f"{name}_entities")
    try:
        if mode == "html":
            text, entities = parse_html(source)
        elif mode == "markdownv2":
            text, entities = parse_markdown(source)
        elif mode == "markdown":
            text, entities = parse_markdown_legacy(source)
        elif mode in ("", "none"):
            text, entities = source, [_entity(e) for e in given or []]
        else:
            raise bad_request("unsupported parse_mode")
    except Unparsable as error:
        raise bad_request(f"can't parse entities: {error}") from None
    text, entities = trim(text, entities)
    if utf16_length(text) > limit:
        raise bad_request(too_long)
    return text, entities


def _entity(given: Any) -> Entity:
    """One explicit MessageEntity; offsets may come as strings inside JSON."""
    if not isinstance(given, dict) or not given.get("type"):
        raise bad_request("can't parse entities: MessageEntity must be an Object with a type")
    offset, length = to_int(given.get("offset")), to_int(given.get("length"))
    if offset is None or length is None:
        raise bad_request('can\'t parse entities: Field "offset" and "length" must be of type Number')
    kept = {name: given[name] for name in FIELDS if given.get(name) is not None}
    return {"type": str(given["type"]), "offset": offset, "length": length, **kept}
