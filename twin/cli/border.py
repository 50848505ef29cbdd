"""What goes to a terminal and what comes from it. Here, and nowhere else, texts of others lose what would command a terminal, and
characters that it cannot show are replaced.

`Screen` draws its own colours, so it cleans the texts before it does (`BorderConsole`). Everything else that is written to stdout or
stderr (prompts, usage errors, tracebacks, the log) goes through `Plain`.
"""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

# C0 but tab and newline, DEL, C1, and what reorders or breaks the line: marks, embeddings, overrides, isolates, separators.
_COMMANDS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
COMMANDS = re.compile(f"[{_COMMANDS}]")
BUT_COLOURS = re.compile(f"(\x1b\\[[0-9;]*m)|[{_COMMANDS}]")
SHOWN_AS = str.maketrans("–—‑’‘“”«»→▶█·•…≤✓✗◀×│─━╭╮╰╯┌┐└┘", '---\'\'"""">>#...<+x<x|--++++++++')


def cleaned(text: str) -> str:
    """Without the characters that command a terminal. What was an escape sequence stands there as its letters."""
    return COMMANDS.sub("", text)


def escaped(document: str) -> str:
    """A JSON document in which they are spelled \\u009b: JSON itself spells only those below a space so."""
    return COMMANDS.sub(lambda match: match[0] if match[0] in "\r\n\t" else f"\\u{ord(match[0]):04x}", document)


class Plain:
    """A text stream that commands no terminal. Colours stay where there is one."""

    buffer = None  # so that no library goes around it

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(BUT_COLOURS.sub(r"\1", text) if self.stream.isatty() else cleaned(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def behind(stream: Any) -> Any:
    """The stream itself, for who cleans what he writes."""
    return stream.stream if isinstance(stream, Plain) else stream


@contextmanager
def bordered() -> Iterator[None]:
    """stdout and stderr take every text and command no terminal; stdin gives every byte."""
    streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    plain = {name: Plain(stream) for name, stream in streams.items()}
    for stream, errors in ((sys.stdout, "shown"), (sys.stderr, "shown"), (sys.stdin, "surrogateescape")):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=errors)
    for name, stream in plain.items():
        setattr(sys, name, stream)
    try:
        yield
    finally:
        flush(streams["stdout"])
        for name, stream in streams.items():
            if getattr(sys, name) is plain[name]:  # else somebody has put another there, such as typer for a broken pipe
                setattr(sys, name, stream)


def flush(stream: TextIO) -> None:
    """Write what waits. Where nobody reads any more, nothing is to be written at the end of the process either."""
    try:
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except ValueError:  # closed
        pass


def read_line() -> str:
    """A line of standard input without its end, "" at the end of it. It may be in any encoding: UTF-8 is tried, whatever the locale."""
    return decoded(sys.stdin.readline()).strip()


def decoded(line: str) -> str:
    """What was read with surrogates for bytes that the locale does not know."""
    if line.isascii() or not any("\ud800" <= character <= "\udfff" for character in line):
        return line
    encoding = getattr(sys.stdin, "encoding", None) or "utf-8"
    return line.encode(encoding, "surrogateescape").decode("utf-8", "replace")


def argument(given: str) -> str:
    """A word of the command line, which Python reads in the locale's encoding: UTF-8 is tried, whatever the locale."""
    return os.fsencode(given).decode("utf-8", "replace") if any("\udc80" <= letter <= "\udcff" for letter in given) else given


def _shown(error: UnicodeError) -> tuple[str, int]:
    """The handler of characters that the terminal's encoding does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(SHOWN_AS)
    return "".join(character if character.isascii() else "?" for character in text), error.end


codecs.register_error("shown", _shown)
