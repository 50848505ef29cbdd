"""One dialog's part of a dataset, made in two steps: between them the repeats of all dialogs before it are counted.

The steps need no more than the store's file and an order, so they can be done in this process or in another.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.examples import Example, Measured, Rules, cut, measure
from trainer.lengths import Lengths, Marks, encode_with
from trainer.verdicts import SPLITS, Split
from twin.history import History
from twin.turns import system_turn

CHANNEL = "account"  # the owner's own chats; text that came through the bot does not train
HISTOGRAM = (32, 64, 128, 256, 512, 1024, 2048, 4096)
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Order:
    """What every part is made by. It can be pickled."""

    store: Path
    owner: str
    rules: Rules
    marks: Marks
    encoder: Any  # trainer.lengths.encoder_of


@dataclass(frozen=True)
class Part:
    """What one dialog brings. `lines` are those of the split's file; tokens and histogram are of the train split."""

    dialog_id: int
    lines: dict[Split, bytes]
    examples: Counter[str]
    targets: Counter[str]
    tokens: int
    supervised_tokens: int
    histogram: Counter[str]
    verdicts: Counter[str]
    train_until: int | None  # when the newest reply that trains began, in unix seconds


class Workbench:
    """Holds the dialogs that are measured and not yet cut."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._history = History(order.store)
        self._lengths = Lengths(encode_with(order.encoder), order.marks)
        self._measured: dict[int, Measured] = {}

    def close(self) -> None:
        self._history.close()

    def measure(self, dialog_id: int, contact: str) -> list[str]:
        """First step. Returns the texts that would train, for `Tally.repeated`."""
        messages = self._history.messages(CHANNEL, dialog_id)
        system = system_turn(self._order.owner, contact)
        measured = measure(dialog_id, messages, system, self._order.rules, self._lengths.count)
        self._measured[dialog_id] = measured
        return measured.texts

    def cut(self, dialog_id: int, repeated: Collection[int]) -> Part:
        """Second step, once for each measured dialog."""
        measured = self._measured.pop(dialog_id)
        (head,) = self._lengths.count([measured.system])
        lines: dict[Split, list[str]] = {split: [] for split in SPLITS}
        targets, histogram, verdicts = Counter[str](), Counter[str](), Counter[str]()
        tokens, learned, until = 0, 0, None
        for example, counts in cut(measured, repeated, verdicts):
            lines[example.split].append(_line(example))
            targets[example.split] += len(example.targets)
            if example.split == "train":
                length, targeted = self._lengths.row(example.turns, [head, *counts], example.targets)
                tokens += length
                learned += targeted
                histogram[next((str(bound) for bound in HISTOGRAM if length <= bound), "more")] += 1
                until = max(until or 0, *example.at)
        return Part(
            dialog_id=dialog_id,
            lines={split: "".join(found).encode() for split, found in lines.items()},
            examples=Counter({split: len(found) for split, found in lines.items()}),
            targets=targets,
            tokens=tokens,
            supervised_tokens=learned,
            histogram=histogram,
            verdicts=verdicts,
            train_until=until,
        )


def _line(e: Example) -> str:
    turns = [[turn.role, turn.content] for turn in e.turns]
    return _JSON.encode({"dialog_id": e.dialog_id, "turns": turns, "targets": e.targets, "at": e.at}) + "\n"
