"""parse_mode=MarkdownV2: marks to entities, refused the way the real server refuses (td/telegram/MessageEntity.cpp,
parse_markdown_v2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sandbox.botapi.spans import Entity, Unparsable, byte_offset, link_entity, sort_entities, utf16_length

RESERVED = frozenset("_*[]()~`>#+-=|{}.!\n")
KINDS = {"Bold": "bold", "Italic": "italic", "Underline": "underline", "Strikethrough": "strikethrough", "Spoiler": "spoiler"}
KINDS |= {"Code": "code", "Pre": "pre", "PreCode": "pre", "BlockQuote": "blockquote", "ExpandableBlockQuote": "expandable_blockquote"}
CLOSERS = {
    "Bold": "*",
    "Code": "`",
    "Pre": "```",
    "PreCode": "```",
    "TextUrl": "]",
    "CustomEmoji": "]",
    "Underline": "__",
    "Strikethrough": "~",
    "Spoiler": "||",
}
OPENERS = (("__", "Underline"), ("_", "Italic"), ("*", "Bold"), ("~", "Strikethrough"), ("||", "Spoiler"), ("[", "TextUrl"))
EMOJI_URL = re.compile(r"tg:(?://)?emoji(?:[?/#]|$)", re.IGNORECASE)


@dataclass
class Open:
    kind: str
    argument: str
    offset: int  # UTF-16, in the result
    at: int  # in the source
    place: int  # in the result's characters


class Parser:
    """One text's state: `i` runs over the source, `text` and `offset` over the result."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.i = 0
        self.text: list[str] = []
        self.offset = 0
        self.entities: list[Entity] = []
        self.stack: list[Open] = []
        self.in_quote = False
        self.may_quote = True  # only marks since the last line break

    def parse(self) -> tuple[str, list[Entity]]:
        source = self.source
        while self.i < len(source):
            c = source[self.i]
            following = source[self.i + 1 : self.i + 2]
            verbatim = bool(self.stack) and self.stack[-1].kind in ("Code", "Pre", "PreCode")
            if c == "\\" and following and ord(following) <= 126:
                self._put(following)
                self.i += 2
            elif c not in ("`" if verbatim else RESERVED):
                self._put(c)
                self.i += 1
            elif self._ends(c, following):
                self._close(c)
            else:
                self._open(c, following)
        self._finish()
        return "".join(self.text), sort_entities(self.entities)

    def _put(self, characters: str) -> None:
        self.text.append(characters)
        self.offset += utf16_length(characters)
        self.may_quote = characters in "\r\n"

    def _ends(self, c: str, following: str) -> bool:
        if not self.stack:
            return False
        if self.in_quote and c == "\n" and following != ">":
            return True
        kind = self.stack[-1].kind
        if kind == "Italic":
            return c == "_" and following != "_"
        return kind in CLOSERS and self.source.startswith(CLOSERS[kind], self.i)

    def _open(self, c: str, following: str) -> None:
        at = self.i
        if c == "\n":
            self._put(c)
            self.i += 2 if self.in_quote and following == ">" else 1
            return
        if c == ">" and self.may_quote and not self.in_quote:
            self.in_quote = True
            self._push("BlockQuote", at, 1)
        elif self.source.startswith("![", at):
            self._push("CustomEmoji", at, 2)
        elif self.source.startswith("```", at):
            self._open_pre(at)
        elif c == "`":
            self._push("Code", at, 1)
        else:
            for mark, kind in OPENERS:
                if self.source.startswith(mark, at):
                    self._push(kind, at, len(mark))
                    return
            raise Unparsable(f"Character '{c}' is reserved and must be escaped with the preceding '\\'")

    def _push(self, kind: str, at: int, width: int, argument: str = "") -> None:
        self.stack.append(Open(kind, argument, self.offset, at, len(self.text)))
        self.i = at + width

    def _open_pre(self, at: int) -> None:
        source, i = self.source, at + 3
        end = i
        while end < len(source) and not source[end].isspace() and source[end] != "`":
            end += 1
        named = end > i and end < len(source) and source[end] != "`"
        language = source[i:end] if named else ""
        i = end if named else i
        if source[i : i + 2] in ("\r\n", "\n\r"):
            i += 2
        elif source[i : i + 1] in ("\r", "\n"):
            i += 1
        self._push("PreCode" if named else "Pre", at, i - at, language)

    def _close(self, c: str) -> None:
        opened = self.stack[-1]
        if c == "\n":
            self._end_quote()
            return
        self.stack.pop()
        self.i += len(CLOSERS.get(opened.kind, "_"))
        at = {"offset": opened.offset, "length": self.offset - opened.offset}
        empty = self.offset == opened.offset
        if opened.kind == "TextUrl":
            url = self._url() if self.source.startswith("(", self.i) else "".join(self.text[opened.place :])
            link = link_entity(url)
            if link and not empty:
                self.entities.append({**at, **link})
        elif opened.kind == "CustomEmoji":
            emoji_id = self._custom_emoji_id()
            if not empty:
                self.entities.append({"type": "custom_emoji", **at, "custom_emoji_id": emoji_id})
        elif not empty:
            entity: Entity = {"type": KINDS[opened.kind], **at}
            if opened.argument:
                entity["language"] = opened.argument
            self.entities.append(entity)

    def _end_quote(self) -> None:
        kind = self._quote_kind()
        quote = self.stack[-1]
        if quote.kind != "BlockQuote":
            self._unended(quote)
        self._put("\n")
        self.i += 1
        self._add_quote(kind, quote)

    def _quote_kind(self) -> str:
        """An empty spoiler mark that stands last in a quote makes it expandable; the mark is taken off."""
        if len(self.stack) > 1 and self.stack[-1].kind == "Spoiler" and self.stack[-2].kind == "BlockQuote":
            since = self.text[self.stack[-1].place :]
            if all(characters == "\r" for characters in since):
                self.stack.pop()
                return "ExpandableBlockQuote"
        return "BlockQuote"

    def _add_quote(self, kind: str, quote: Open) -> None:
        self.stack.pop()
        self.in_quote = False
        if self.offset > quote.offset:
            self.entities.append({"type": KINDS[kind], "offset": quote.offset, "length": self.offset - quote.offset})

    def _finish(self) -> None:
        if self.in_quote:
            kind = self._quote_kind()
            if self.stack[-1].kind == "BlockQuote":
                self._add_quote(kind, self.stack[-1])
        if self.stack:
            self._unended(self.stack[-1])

    def _unended(self, opened: Open) -> None:
        raise Unparsable(f"Can't find end of {opened.kind} entity at byte offset {byte_offset(self.source, opened.at)}")

    def _url(self, what: str = "a URL") -> str:
        """The bracketed URL at `i`, which is moved behind it."""
        begin = i = self.i + 1
        url: list[str] = []
        while i < len(self.source) and self.source[i] != ")":
            if self.source[i] == "\\" and i + 1 < len(self.source) and ord(self.source[i + 1]) <= 126:
                i += 1
            url.append(self.source[i])
            i += 1
        if i >= len(self.source):
            raise Unparsable(f"Can't find end of {what} at byte offset {byte_offset(self.source, begin)}")
        self.i = i + 1
        return "".join(url)

    def _custom_emoji_id(self) -> str:
        if not self.source.startswith("(", self.i):
            raise Unparsable("Custom emoji entity must contain a tg://emoji URL")
        url = self._url("a custom emoji URL")
        if not url.lower().startswith("tg:"):
            raise Unparsable("Custom emoji URL must have scheme tg")
        if not EMOJI_URL.match(url):
            raise Unparsable('Custom emoji URL must have host "emoji"')
        query = url.partition("#")[0].partition("?")[2]
        ids = [pair.removeprefix("id=") for pair in query.split("&") if pair.startswith("id=")]
        if not ids:
            raise Unparsable("Custom emoji URL must have an emoji identifier")
        if not ids[0].isdecimal() or ids[0].startswith("0"):
            raise Unparsable("Invalid custom emoji identifier specified")
        return ids[0]


def parse_markdown(source: str) -> tuple[str, list[Entity]]:
    """The text without marks, and its entities. Raises Unparsable."""
    return Parser(source).parse()
