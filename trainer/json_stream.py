"""Read a large JSON file piece by piece: walk the outer structure, decode one value at a time, know the byte of every fault.

Telegram Desktop's result.json is often not valid JSON, which is why a ready-made streaming parser does not do: it stops
at the first fault, and cannot say at which byte. Two known faults are mended in the value where they stand:
`\\x08` (tdesktop #27571: control characters, which JSON spells \\u0008) and a bare path after "document_id" (#24961).
Values are decoded by the standard library's C scanner, about ten times as fast as parsing events in Python.

A fault costs what lies between the start of its value and the fault, and no more: where a file is one fault after another, reading
is still linear. Only values that are nested in each other and all broken are gone through again and again: `BUDGET` ends that.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

WINDOW = 1 << 20  # characters to have in view before a value is decoded, unless the file ends
LONGEST_VALUE = 1 << 24  # characters; a longer single value is a fault, so that memory stays bounded
LONGEST_MATCH = 1 << 13  # characters that a pattern of `go_to` may need
DEEPEST = 100
CUT_VALUE = 64  # a fault this close to the end of what is in view may only be a value that goes on
SLICE = 1 << 12  # how much of the view is tried first: most messages are shorter
LONGEST_PATH = 1 << 10  # characters of a bare path
BUDGET = 1 << 26  # characters that faults may have read again in vain, beside BUDGET_SHARE times those that are behind
BUDGET_SHARE = 8
UNKNOWN_COST = 1 << 15  # of a fault of which the scanner does not say where it stands
MENDABLE = re.compile(
    r"\\(?:x(?P<control>[0-9A-Fa-f]{2})|.)"  # escaped backslashes go in pairs, so a text that holds "\\x41" stays
    rf"|(?P<key>\"document_id\"\s*:\s*)(?![\"\d\s]|null\b)(?P<bare>[^\r\n]{{0,{LONGEST_PATH}}})(?=[\r\n])",
    re.DOTALL,
)
DOCUMENT_ID = '"document_id"'
LINE_END = re.compile(r"[\r\n]")
SPACE = re.compile(r"[ \t\r\n]*")


class JsonFault(Exception):
    """The file is not what was expected, from `offset` (in bytes) on."""

    def __init__(self, offset: int, expected: str) -> None:
        super().__init__(f"byte {offset}: expected {expected}")
        self.offset = offset
        self.expected = expected


class TruncatedFault(JsonFault):
    """The file ends where something was expected."""


class HopelessFault(Exception):
    """So much of the file is broken that looking for more in it is given up, at `offset`."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"byte {offset}")
        self.offset = offset


class JsonReader:
    """A position in a file. `members` steps through an object, `open_array` and `more` through an array."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("rb")
        # Bytes that are no UTF-8 come out as lone surrogates and go back to the same bytes: offsets stay exact.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = ""
        self._at = 0
        self._dropped = 0  # characters that are out of view already
        self._element = -1  # where the element began that `more` announced last, in characters
        self._ended = False
        self._known = (0, 0)  # a character in view and its byte, from which others are counted
        self._in_vain = 0  # characters that were read for faults
        self._is_between = False  # in an array: an element was read, a comma or the end comes
        self._fill(1)
        if self._text.startswith("\ufeff"):
            self._at = 1

    def __enter__(self) -> JsonReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def ahead(self) -> JsonReader:
        """Another reader at this place, which leaves this one where it is. What is in view already is not read again."""
        self._fill(WINDOW)
        other = copy(self)
        other._file = self._path.open("rb")
        other._file.seek(self._file.tell())
        other._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        other._decoder.setstate(self._decoder.getstate())
        return other

    @property
    def offset(self) -> int:
        """The byte that comes next. Costs a look at the text since the last time that it was asked."""
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
        yield self._key()
        yield from self.members_behind()

    def members_behind(self) -> Iterator[str]:
        """Step through what is left of an object whose last value has been read."""
        while not self._take("}"):
            self._expect(",", "a comma or the end of the object (})")
            yield self._key()
        self._is_between = True

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
        while wanted <= LONGEST_VALUE:
            self._fill(wanted)
            if whole := self._decoded():
                found, self._at = whole
                self._is_between = True
                return found
            wanted *= 4
        raise JsonFault(self.offset, f"a value of at most {LONGEST_VALUE:,} characters")

    def skip(self, depth: int = 0) -> None:
        """Pass over the next value, a large one piece by piece."""
        self._fill(WINDOW)
        if whole := self._decoded():
            _, self._at = whole
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
        # One pattern of both: what is behind the first match is looked through when it comes.
        first = re.compile(f"{wanted.pattern}|(?P<stop>{before.pattern})")
        while True:
            found = first.search(self._text, start)
            if found and found["stop"] is None:
                self._at = found.start()
                self._is_between = False
                return found
            if found or self._ended:
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
            self._known = (0, self._offset_of(self._at))
            self._dropped += self._at
            pieces = [self._text[self._at :]]  # joined once: one emoji makes four bytes of every character
            self._text, self._at, missing = "", 0, wanted - len(pieces[0])
            while missing > 0 and not self._ended:
                chunk = self._file.read(WINDOW)
                self._ended = not chunk
                pieces.append(self._decoder.decode(chunk, final=self._ended))
                missing -= len(pieces[-1])
            self._text = "".join(pieces)

    def _offset_of(self, at: int) -> int:
        known, offset = self._known
        passed = len(self._text[min(at, known) : max(at, known)].encode("utf-8", "surrogateescape"))
        self._known = (at, offset + passed if at >= known else offset - passed)
        return self._known[1]

    def _spend(self, characters: int) -> None:
        """Note what a fault has cost. Raises HopelessFault once faults have cost too much for what was read."""
        self._in_vain += characters
        if self._in_vain > BUDGET + BUDGET_SHARE * (self._dropped + self._at):
            raise HopelessFault(self.offset)

    def _decoded(self) -> tuple[Any, int] | None:
        """The next value and where it ends; None if it goes on behind the view."""
        try:
            found, end = _decode(self._text, self._at)
        except _Broken as exc:
            self._spend(exc.at - self._at)
            if not exc.may_be_cut:
                raise JsonFault(self._offset_of(exc.at), "valid JSON") from exc
            if self._ended:
                raise TruncatedFault(self._offset_of(len(self._text)), "the rest of the file, which ends here") from exc
            return None
        except RecursionError as exc:
            self._spend(UNKNOWN_COST)
            raise JsonFault(self.offset, "a value of ordinary depth") from exc
        except ValueError as exc:  # a number of thousands of digits
            self._spend(UNKNOWN_COST)
            raise JsonFault(self.offset, "a value of ordinary size") from exc
        return (found, end) if end < len(self._text) or self._ended else None  # else a number may go on

    def _key(self) -> str:
        if self.peek() != '"':
            self._fail('a key (") of the object')
        key: str = self.value()
        self._expect(":", "a colon after the key")
        return key

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


class _Broken(Exception):
    """The text stops being JSON `at` this character; `may_be_cut`: perhaps only because it ends."""

    def __init__(self, at: int, *, may_be_cut: bool) -> None:
        super().__init__()
        self.at = at
        self.may_be_cut = may_be_cut


def _decode(text: str, at: int) -> tuple[Any, int]:
    """The value at `at` and where it ends. Raises _Broken, RecursionError or ValueError.

    In slices that grow: an error of the scanner counts all lines that it was given, whether it has read them or not."""
    length = SLICE
    while True:
        end = at + length
        try:
            # The last one is not cut out: it may be large.
            if end >= len(text):
                return _decode_piece(text, at)
            found, stop = _decode_piece(text[at:end], 0)
        except _Broken as exc:
            if end >= len(text):
                raise
            if not exc.may_be_cut:
                raise _Broken(at + exc.at, may_be_cut=False) from exc.__cause__
        else:
            if stop < length:
                return found, at + stop
        length *= 8


def _decode_piece(text: str, at: int) -> tuple[Any, int]:
    try:
        return _scan(text, at)
    except json.JSONDecodeError as exc:
        fault, place = exc, exc.pos
    if _mendable(text, at, place):
        rest = text[at:]
        try:
            found, end = _scan(_mend(rest))
        except json.JSONDecodeError as exc:
            fault, place = exc, at if _is_unterminated(exc) else at + _unmended(rest, exc.pos)
        else:
            return found, at + _unmended(rest, end)
    # Where the text ends, a value that goes on looks broken; an unterminated string is told by its start.
    may_be_cut = place >= len(text) - CUT_VALUE or _is_unterminated(fault) or _is_open_path(text, at, place)
    raise _Broken(place, may_be_cut=may_be_cut) from fault


def _is_unterminated(fault: json.JSONDecodeError) -> bool:
    return fault.msg.startswith("Unterminated")


def _mendable(text: str, at: int, fault: int) -> bool:
    """Whether what can be mended stands at the fault, in the value at `at`."""
    if text.startswith("\\", fault):
        found = MENDABLE.match(text, fault)
        return found is not None and found["control"] is not None
    key = text.rfind(DOCUMENT_ID, max(at, fault - LONGEST_PATH), fault)
    found = MENDABLE.match(text, key) if key >= 0 else None
    return found is not None and found.start("bare") <= fault <= found.end()


def _is_open_path(text: str, at: int, fault: int) -> bool:
    """Whether a bare path may stand there, of which the end is not in the text."""
    key = text.rfind(DOCUMENT_ID, max(at, fault - LONGEST_PATH), fault)
    return key >= 0 and len(text) - key < LONGEST_PATH and not LINE_END.search(text, key)


def _mend(text: str) -> str:
    """The text with valid escapes and quotes."""
    mended = io.StringIO()  # not a list: a text may consist of a million escapes
    done = 0
    for match, new in _mends(text):
        mended.write(text[done : match.start()])
        mended.write(new)
        done = match.end()
    mended.write(text[done:])
    return mended.getvalue()


def _mends(text: str) -> Iterator[tuple[re.Match[str], str]]:
    for match in MENDABLE.finditer(text):
        if match["control"]:
            yield match, f"\\u00{match['control']}"
        elif match["key"]:
            path = match["bare"].rstrip(" \t").removesuffix(",")
            yield match, match["key"] + json.dumps(path, ensure_ascii=False) + match["bare"][len(path) :]


def _unmended(text: str, position: int) -> int:
    """Where in the text that stands which is at the position in the mended text."""
    added = 0
    for match, new in _mends(text):
        if match.start() + added + len(new) > position:
            break
        added += len(new) - len(match[0])
    return position - added
