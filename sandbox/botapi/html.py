"""parse_mode=HTML: tags to entities, refused the way the real server refuses (td/telegram/MessageEntity.cpp, parse_html)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sandbox.botapi.spans import Entity, Unparsable, byte_offset, link_entity, sort_entities, utf16_length

KINDS = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
    "code": "code",
    "pre": "pre",
}
TAGS = frozenset(KINDS) | {"a", "blockquote", "tg-emoji"}
CHARACTER = re.compile(r"&(?:#(?:x([0-9A-Fa-f]{1,7})|([0-9]{1,8}))|(lt|gt|amp|quot)(?![A-Za-z]));?")
NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
SPACE = " \t\r\n\0\v"
TOKEN = re.compile(r"[A-Za-z0-9.\-]*")


@dataclass
class Open:
    tag: str
    argument: str
    offset: int  # UTF-16, in the result
    place: int  # in the result's characters


def parse_html(source: str) -> tuple[str, list[Entity]]:
    """The text without tags, and its entities. Raises Unparsable."""
    text: list[str] = []
    entities: list[Entity] = []
    stack: list[Open] = []
    offset = 0
    i = 0
    while i < len(source):
        c = source[i]
        if c == "&" and (decoded := _character(source, i)):
            text.append(decoded[0])
            offset += utf16_length(decoded[0])
            i = decoded[1]
        elif c != "<":
            text.append(c)
            offset += utf16_length(c)
            i += 1
        elif not source.startswith("</", i):
            tag, argument, i = _start_tag(source, i)
            stack.append(Open(tag, argument, offset, len(text)))
        else:
            if not stack:
                raise Unparsable(f"Unexpected end tag at byte offset {byte_offset(source, i)}")
            i = _end_tag(source, i, stack[-1].tag)
            opened = stack.pop()
            if offset > opened.offset:
                _close(opened, "".join(text[opened.place :]), offset - opened.offset, entities)
    if stack:
        raise Unparsable(f'Can\'t find end tag corresponding to start tag "{stack[-1].tag}"')
    for entity in entities:
        if entity["type"] == "code":
            entity.pop("language", None)
    return "".join(text), sort_entities(entities)


def _character(source: str, at: int) -> tuple[str, int] | None:
    match = CHARACTER.match(source, at)
    if match is None:
        return None
    if match[3]:
        return NAMED[match[3]], match.end()
    code = int(match[1], 16) if match[1] else int(match[2])
    if code == 0 or code >= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        return None
    return chr(code), match.end()


def _start_tag(source: str, begin: int) -> tuple[str, str, int]:
    """Name, the one attribute that matters, and the place after the tag."""
    here = f"at byte offset {byte_offset(source, begin)}"
    i = begin + 1
    while i < len(source) and source[i] not in SPACE and source[i] != ">":
        i += 1
    if i >= len(source):
        raise Unparsable(f"Unclosed start tag {here}")
    tag = source[begin + 1 : i].lower()
    if tag not in TAGS:
        raise Unparsable(f'Unsupported start tag "{tag}" {here}')
    argument = ""
    while True:
        i = _skip_space(source, i)
        if i >= len(source):
            raise Unparsable(f"Unclosed start tag {here}")
        if source[i] == ">":
            break
        name_at = i
        while i < len(source) and source[i] not in SPACE and source[i] not in "=>":
            i += 1
        name = source[name_at:i]
        if not name:
            raise Unparsable(f'Empty attribute name in the tag "{tag}" {here}')
        i = _skip_space(source, i)
        value = ""
        if source[i : i + 1] == "=":
            value, i = _attribute_value(source, _skip_space(source, i + 1), here)
        argument = _argument(tag, name, value, argument)
    if tag == "span" and argument != "spoiler":
        raise Unparsable(f'Tag "span" must have class "tg-spoiler" {here}')
    return tag, argument, i + 1


def _attribute_value(source: str, i: int, here: str) -> tuple[str, int]:
    if i >= len(source):
        raise Unparsable(f"Unclosed start tag {here}")
    quote = source[i]
    if quote not in "'\"":
        token = TOKEN.match(source, i)
        assert token is not None  # matches the empty string at least
        end = token.end()
        if end < len(source) and source[end] not in SPACE and source[end] != ">":
            raise Unparsable(f"Unexpected end of name token at byte offset {byte_offset(source, i)}")
        return token[0].lower(), end
    value: list[str] = []
    i += 1
    while i < len(source) and source[i] != quote:
        decoded = _character(source, i) if source[i] == "&" else None
        character, i = decoded or (source[i], i + 1)
        value.append(character)
    if i + 1 >= len(source):
        raise Unparsable(f"Unclosed start tag {here}")
    return "".join(value), i + 1


def _argument(tag: str, name: str, value: str, before: str) -> str:
    match tag, name:
        case ("a", "href") | ("tg-emoji", "emoji-id"):
            return value
        case ("code", "class") if value.startswith("language-"):
            return value.removeprefix("language-")
        case ("span", "class") if value.startswith("tg-"):
            return value.removeprefix("tg-")
        case "blockquote", "expandable":
            return "expandable"
    return before


def _end_tag(source: str, begin: int, expected: str) -> int:
    here = f"at byte offset {byte_offset(source, begin)}"
    i = begin + 2
    while i < len(source) and source[i] not in SPACE and source[i] != ">":
        i += 1
    found = source[begin + 2 : i].lower()
    i = _skip_space(source, i)
    if source[i : i + 1] != ">":
        raise Unparsable(f"Unclosed end tag {here}")
    if found and found != expected:
        raise Unparsable(f'Unmatched end tag {here}, expected "</{expected}>", found "</{found}>"')
    return i + 1


def _close(opened: Open, inner: str, length: int, entities: list[Entity]) -> None:
    at = {"offset": opened.offset, "length": length}
    last = entities[-1] if entities else {}
    same_place = last.get("offset") == opened.offset and last.get("length") == length
    if opened.tag == "a":
        link = link_entity(opened.argument or inner)
        if link:
            entities.append({**at, **link})
    elif opened.tag == "tg-emoji":
        if not opened.argument.isdecimal() or int(opened.argument) == 0:
            raise Unparsable("Invalid custom emoji identifier specified")
        entities.append({"type": "custom_emoji", **at, "custom_emoji_id": opened.argument})
    elif opened.tag == "blockquote":
        entities.append({"type": "expandable_blockquote" if opened.argument else "blockquote", **at})
    elif opened.tag == "pre" and same_place and last["type"] == "code" and last.get("language"):
        last["type"] = "pre"
    elif opened.tag == "code" and same_place and last["type"] == "pre" and opened.argument:
        last["language"] = opened.argument
    else:
        entity: Entity = {"type": KINDS[opened.tag], **at}
        if opened.tag == "code" and opened.argument:
            entity["language"] = opened.argument  # kept only if a pre of the same extent closes around it
        entities.append(entity)


def _skip_space(source: str, i: int) -> int:
    while i < len(source) and source[i] in SPACE:
        i += 1
    return i
