"""How many tokens turns and rows take, counted many at a time and without the renderer, so that any process can do it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twin.renderer import Renderer, plain
from twin.turns import Role, Turn

KEPT = 50_000  # short texts whose length is remembered: people repeat themselves
SHORT = 32  # characters

Encode = Callable[[Sequence[str]], list[int]]  # texts -> tokens of each


@dataclass(frozen=True)
class Marks:
    """What the renderer's template adds to the contents of turns, in tokens.

    A row is a system turn and then turns in alternation up to the owner's last: `by_first` gives for the role after the
    system turn `(marks of the shortest such row, marks of two turns more, turns that the template drops)`.
    """

    written: re.Pattern[str]  # what nobody may write in a message
    head: int  # of a system turn, at most
    turn: int  # of any other turn, at most
    reply: int  # of the owner's turn, as far as the model has to write them
    by_first: dict[Role, tuple[int, int, int]]


def marks_of(renderer: Renderer) -> Marks:
    """Measured on rows of one word a turn. Where a tokenizer joins the edge of a content with a mark, and no known chat
    template lets it, a row's true length is by so much shorter."""
    word = "word"
    one = len(renderer.tokenizer.encode(word, add_special_tokens=False))

    def measured(first: Role, turns: int) -> tuple[int, int, int]:
        """The row's marks, the turns that it lacks, and the marks of its last turn."""
        after: Role = "assistant" if first == "user" else "user"
        talk = [Turn((first, after)[i % 2], word) for i in range(turns)]
        row = renderer.row([Turn("system", word), *talk])
        lacks = sum(turn.role == "assistant" for turn in talk) - len(row.spans)
        _, begins, ends = row.spans[-1]
        return len(row.ids) - one * (1 + turns - lacks), lacks, ends - begins - one

    by_first: dict[Role, tuple[int, int, int]] = {}
    shortest: tuple[tuple[Role, int], ...] = (("user", 2), ("assistant", 3))
    for first, turns in shortest:
        marks, lacks, reply = measured(first, turns)
        by_first[first] = marks, measured(first, turns + 2)[0] - marks, lacks
    return Marks(renderer.marks, renderer.count(Turn("system", "")), renderer.count(Turn("user", "")), reply, by_first)


class Lengths:
    """Counts with one tokenizer, given as `encode`, and the marks of its template."""

    def __init__(self, encode: Encode, marks: Marks) -> None:
        self._encode = encode
        self._marks = marks
        self._known: dict[str, int] = {}

    def count(self, turns: Sequence[Turn]) -> list[int]:
        """What `Renderer.count` gives for each turn."""
        contents = [plain(turn.content, self._marks.written) for turn in turns]
        new = list(dict.fromkeys(content for content in contents if content not in self._known))
        found = dict(zip(new, self._encode(new), strict=True))
        head, mark = self._marks.head, self._marks.turn
        known = self._known
        counts = [
            (found[content] if content in found else known[content]) + (head if turn.role == "system" else mark)
            for content, turn in zip(contents, turns, strict=True)
        ]
        if len(known) < KEPT:
            known.update((content, tokens) for content, tokens in found.items() if len(content) <= SHORT)
        return counts

    def row(self, turns: Sequence[Turn], counts: Sequence[int], targets: Sequence[int]) -> tuple[int, int]:
        """Tokens of the row of these turns, and of its targets; `counts` are those of the turns."""
        shortest, pair, lacks = self._marks.by_first[turns[1].role]
        mark = self._marks.turn
        talk = len(turns) - 1
        contents = counts[0] - self._marks.head + sum(counts[1 + lacks :]) - mark * (talk - lacks)
        pairs = talk // 2 - 1  # beyond the shortest row, which has two turns, or three
        learned = sum(counts[i] for i in targets) + (self._marks.reply - mark) * len(targets)
        return contents + shortest + pair * pairs, learned


def encoder_of(tokenizer: Any) -> Any:
    """What encodes for `encode_with`: the Rust tokenizer, which can travel to another process, where there is one."""
    return getattr(tokenizer, "backend_tokenizer", tokenizer)


def encode_with(encoder: Any) -> Encode:
    """Counting by what `encoder_of` gave, many texts in one call if it can."""
    batch = getattr(encoder, "encode_batch_fast", None)
    if batch is None:
        return lambda texts: [len(encoder.encode(text, add_special_tokens=False)) for text in texts]
    return lambda texts: [len(encoded) for encoded in batch(list(texts), add_special_tokens=False)]
