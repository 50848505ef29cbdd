"""Read a large JSON file piece by piece: walk the outer structure, decode one value at a time, know the byte of every fault.

Telegram Desktop's result.json is often not valid JSON, which is why a ready-made streaming parser does not do: it stops
at the first fault, and cannot say at which byte. Two known faults are mended in the value where they stand:
`\\x08` (tdesktop #27571: control characters, which JSON spells \\u0008) and a bare path after "document_id" (#24961).
Values are decoded by the standard library's C scanner, about ten times as fast as parsing events in Python.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

WINDOW = 1 << 20  # characters to have in view before a value is decoded, unless the file ends
LONGEST_VALUE = 1 << 24  # characters; a longer single value is a fault, so that memory stays bounded
LONGEST_MATCH = 1 << 13  # characters that a pattern of `go_to` may need
DEEPEST = 100
CUT_VALUE = 64  # a fault this close to the end of what is in view may only be a value that goes on
SLICE = 1 << 14  # how much behind a fault is mended at first: most messages are shorter
MENDABLE = re.compile(
    r"\\(?:x(?P<control>[0-9A-Fa-f]{2})|.)"  # escaped backslashes go in pairs, so a text that holds "\\x41" stays
    r"|(?P<key>\"document_id\"\s*:\s*)(?![\"\d\s]|null\b)(?P<bare>[^\r\n]*?)(?=,?[ \t]*[\r\n])",
    re.DOTALL,
)
SPACE = re.compile(r"[ \t\r\n]*")


class JsonFault(Exception):
    """The file is not what was expected, from `offset` (in bytes) on."""

    def __init__(self, offset: int, expected: str) -> None:
        super().__init__(f"byte {offset}: expected {expected}")
        self.offset = offset
        self.expected = expected


class TruncatedFault(JsonFault):
    """The file ends where something was expected."""


class JsonReader:
    """A position in a file. `members` steps through an object, `open_array` and `more` through an array."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._file: BinaryIO = path.open("rb")
        self._file.seek(offset)
        # Bytes that are no UTF-8 come out as lone surrogates and go back to the same bytes: offsets stay exact.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = ""
        self._at = 0
        self._base = offset  # the byte at which _text starts
        self._dropped = 0  # characters that are out of view already
        self._element = -1  # where the element began that `more` announced last, in characters
        self._ended = False
        self._is_between = False  # in an array: an element was read, a comma or the end comes
        if offset == 0:
            self._fill(1)
            if self._text.startswith("\ufeff"):
                self._at = 1

    def __enter__(self) -> JsonReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    @property
    def offset(self) -> int:
        """The byte that comes next. Costs a look at the text in view: for faults and batches, not for every message."""
        return self._offset_of(self._at)

    # --- stepping ---

    def peek(self) -> str:
        """The next character that is not space; "" at the end of the file."""
        self._fill(1)
        return self._text[self._at : self._at + 1]

    def members(self) -> Iterator[str]:
        """Step through an object by its keys. A `value` or `skip` must follow each key."""
        self._expect("{", "an object ({)")
        if self._take("}"):
            self._is_between = True
            return
        while True:
            if self.peek() != '"':
                self._fail('a key (") of the object')
            key = self.value()
            self._expect(":", "a colon after the key")
            yield key
            if self._take("}"):
                self._is_between = True
                return
            self._expect(",", "a comma or the end of the object (})")

    def open_array(self) -> None:
        """Enter an array: `more` then says whether an element comes."""
        self._expect("[", "an array ([)")
        self._is_between = False

    def more(self) -> bool:
        """Whether another element of the array comes; a `value` or `skip` must follow if so."""
        if self._take("]"):
            self._is_between = True
            return False
        if self._is_between:
            self._expect(",", "a comma or the end of the array (])")
        elif not self.peek():
            self._fail("the end of the array (])")
        self._is_between = False
        self.peek()
        self._element = self._dropped + self._at
        return True

    def value(self) -> Any:
        """Decode the next value, mended where it has one of the known faults."""
        wanted = WINDOW
        while True:
            self._fill(wanted)
            try:
                found, end = _decode(self._text, self._at)
            except json.JSONDecodeError as exc:
                # Where the view ends, a value that goes on looks broken; an unterminated string is told by its start.
                is_cut = exc.pos >= len(self._text) - CUT_VALUE or exc.msg.startswith("Unterminated")
                if not is_cut:
                    raise JsonFault(self._offset_of(exc.pos), "valid JSON") from exc
                if self._ended:
                    raise TruncatedFault(self._offset_of(len(self._text)), "the rest of the file, which ends here") from exc
            except (ValueError, RecursionError) as exc:  # a number of thousands of digits, brackets thousands deep
                raise JsonFault(self.offset, "a value of ordinary size and depth") from exc
            else:
                if end < len(self._text) or self._ended:  # else a number may go on
                    self._at = end
                    self._is_between = True
                    return found
            wanted *= 4
            if wanted > LONGEST_VALUE:
                raise JsonFault(self.offset, f"a value of at most {LONGEST_VALUE:,} characters")

    def skip(self, depth: int = 0) -> None:
        """Pass over the next value, a large one piece by piece."""
        self._fill(WINDOW)
        try:
            _, end = _decode(self._text, self._at)
            is_whole = end < len(self._text) or self._ended
        except (ValueError, RecursionError):
            is_whole, end = False, 0  # cut or broken: the pieces will tell which
        if is_whole:
            self._at = end
        elif depth > DEEPEST:
            raise JsonFault(self.offset, "a value of ordinary depth")
        elif self.peek() == "{":
            for _ in self.members():
                self.skip(depth + 1)
        elif self.peek() == "[":
            self.open_array()
            while self.more():
                self.skip(depth + 1)
        else:
            self.value()
        self._is_between = True

    def go_to(self, wanted: re.Pattern[str], before: re.Pattern[str]) -> re.Match[str] | None:
        """Go on to the next match of `wanted`, as an element that `value` can read. None, anywhere behind, if there is none
        or `before` matches first."""
        # An element that failed where it starts is not what comes next; a fault further on may stand right before it.
        start = self._at + (self._dropped + self._at == self._element)
        while True:
            found, stop = wanted.search(self._text, start), before.search(self._text, start)
            if found and not (stop and stop.start() < found.start()):
                self._at = found.start()
                self._is_between = False
                return found
            if stop or self._ended:
                return None
            self._at = start = max(start, len(self._text) - LONGEST_MATCH)  # a match may go on behind the view
            self._fill(LONGEST_MATCH + WINDOW)
            start = self._at

    # --- the text in view ---

    def _fill(self, wanted: int) -> None:
        """Pass space, then have at least `wanted` characters in view, or all there are."""
        while True:
            if match := SPACE.match(self._text, self._at):
                self._at = match.end()
            if len(self._text) - self._at >= wanted or self._ended:
                return
            self._base = self._offset_of(self._at)
            self._dropped += self._at
            chunk = self._file.read(max(WINDOW, wanted))
            self._ended = not chunk
            self._text = self._text[self._at :] + self._decoder.decode(chunk, final=self._ended)
            self._at = 0

    def _offset_of(self, at: int) -> int:
        return self._base + len(self._text[:at].encode("utf-8", "surrogateescape"))

    def _take(self, character: str) -> bool:
        if self.peek() == character:
            self._at += 1
            return True
        return False

    def _expect(self, character: str, what: str) -> None:
        if not self._take(character):
            self._fail(what)

    def _fail(self, expected: str) -> None:
        self._fill(1)
        at_end = self._ended and self._at >= len(self._text)
        raise (TruncatedFault if at_end else JsonFault)(self.offset, expected)


_scan = json.JSONDecoder(strict=False).raw_decode  # not strict: raw control characters, such as tabs, are let through


def _decode(text: str, at: int) -> tuple[Any, int]:
    """The value at `at` and where it ends. Raises as `raw_decode` does."""
    try:
        return _scan(text, at)
    except json.JSONDecodeError as exc:
        fault = exc
    for end in (fault.pos + SLICE, len(text)):
        mended, shifts = _mend(text[at:end])
        if not shifts:
            continue
        try:
            found, length = _scan(mended, 0)
        except json.JSONDecodeError as exc:
            fault = json.JSONDecodeError(exc.msg, text, at + _unshifted(exc.pos, shifts))
        else:
            return found, at + _unshifted(length, shifts)
    raise fault


def _mend(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text with valid escapes and quotes, and [(position in it, characters added there)]."""
    pieces: list[str] = []
    shifts: list[tuple[int, int]] = []
    done = length = 0
    for match in MENDABLE.finditer(text):
        if match["control"]:
            new = f"\\u00{match['control']}"
        elif match["key"]:
            new = match["key"] + json.dumps(match["bare"], ensure_ascii=False)
        else:
            continue
        pieces += text[done : match.start()], new
        length += match.start() - done + len(new)
        done = match.end()
        shifts.append((length, len(new) - len(match[0])))
    return "".join([*pieces, text[done:]]), shifts


def _unshifted(position: int, shifts: list[tuple[int, int]]) -> int:
    return position - sum(added for place, added in shifts if place <= position)
