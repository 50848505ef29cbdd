"""parse_mode=Markdown, the older one that clients still offer: no nesting, four marks (td/telegram/MessageEntity.cpp,
parse_markdown)."""

from __future__ import annotations

from sandbox.botapi.spans import Entity, Unparsable, byte_offset, link_entity, utf16_length

KINDS = {"_": "italic", "*": "bold", "`": "code"}


def parse_markdown_legacy(source: str) -> tuple[str, list[Entity]]:
    """The text without marks, and its entities. Raises Unparsable."""
    text = ""
    entities: list[Entity] = []
    i = 0
    while i < len(source):
        c = source[i]
        if c == "\\" and source[i + 1 : i + 2] in ("_", "*", "`", "["):
            text += source[i + 1]
            i += 2
            continue
        if c not in "_*`[":
            text += c
            i += 1
            continue
        closer = "]" if c == "[" else "```" if source.startswith("```", i) else c
        begin = i + (3 if closer == "```" else 1)
        end = source.find(closer, begin)
        if end < 0:
            raise Unparsable(f"Can't find end of the entity starting at byte offset {byte_offset(source, i)}")
        inner, shape = source[begin:end], {"type": KINDS.get(c, "")}
        i = end + len(closer)
        if closer == "```":
            inner, shape = _pre(inner)
        elif c == "[":
            url, i = _url(source, i, inner)
            shape = link_entity(url) or {}
        if inner and shape:
            entities.append({"offset": utf16_length(text), "length": utf16_length(inner), **shape})
        text += inner
    return text, entities


def _pre(inner: str) -> tuple[str, Entity]:
    language = inner.split(maxsplit=1)[0] if inner.strip() and not inner[0].isspace() else ""
    if language == inner:  # one word alone is the code
        return inner, {"type": "pre"}
    inner = inner[len(language) :]
    inner = inner[1:] if inner[:1] in ("\n", "\r") else inner
    return inner, {"type": "pre", "language": language} if language else {"type": "pre"}


def _url(source: str, i: int, label: str) -> tuple[str, int]:
    """The bracketed URL that may follow a label, and the place behind it."""
    if source[i : i + 1] != "(":
        return label, i
    end = source.find(")", i)
    return (source[i + 1 : end], end + 1) if end >= 0 else (source[i + 1 :], len(source))
