"""Examples -> batches of token ids, the loss mask with them. Padding goes to the right, so a causal model needs no mask."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from trainer.examples import Example
from twin.renderer import Renderer

SHUFFLE_WINDOW = 64  # rows sorted by length together: little padding, and the order stays random


@dataclass(frozen=True)
class Row:
    """One example as tokens; `targets` are the positions (int, into `ids`) that the loss is on: the owner's words and the
    end-of-turn token of each target turn, nothing else."""

    ids: tuple[int, ...]
    targets: tuple[int, ...]


def to_rows(examples: Iterable[Example], renderer: Renderer) -> list[Row]:
    rows = []
    for example in examples:
        rendered = renderer.row(example.turns)
        targets = tuple(p for i, first, end in rendered.spans if i in example.targets for p in range(first, end))
        if targets:
            rows.append(Row(tuple(rendered.ids), targets))
    return rows


def micro_batches(rows: Sequence[Row], padded_tokens: int, *, seed: int | None) -> Iterator[list[Row]]:
    """One pass over the rows in batches of at most `padded_tokens` (a longer row stands alone); None: in the given order."""
    order = list(rows)
    shuffle = random.Random(seed)
    if seed is not None:
        shuffle.shuffle(order)
    batches: list[list[Row]] = []
    for at in range(0, len(order), SHUFFLE_WINDOW):
        batch: list[Row] = []
        for row in sorted(order[at : at + SHUFFLE_WINDOW], key=lambda r: len(r.ids)):
            if batch and len(row.ids) * (len(batch) + 1) > padded_tokens:
                batches.append(batch)
                batch = []
            batch.append(row)
        batches.append(batch)
    if seed is not None:
        shuffle.shuffle(batches)
    yield from batches


def steps(rows: Sequence[Row], *, batch_tokens: int, padded_tokens: int, seed: int, epoch: int) -> Iterator[list[list[Row]]]:
    """The micro-batches of each optimiser step of one epoch: about `batch_tokens` real tokens each (padding not counted)."""
    group: list[list[Row]] = []
    tokens = 0
    for batch in micro_batches(rows, padded_tokens, seed=seed * 1_000_003 + epoch):
        group.append(batch)
        size = sum(len(row.ids) for row in batch)
        tokens += size
        if tokens + size / 2 >= batch_tokens:  # nearer to the goal than with one more like it
            yield group
            group, tokens = [], 0
    if group:
        yield group
