"""One dialog's messages -> examples. Pure: no store, no files, no clock.

conversation  a run of messages without a silence of `gap_seconds`
target        an owner's turn that the model is trained (or tested) to write
example       a window of one conversation's turns with its targets; the loss is on the targets only
split         what an example is for: the newest replies of a chat are the holdout, those before it validation; of the older
              conversations a few, drawn by a hash, are the anchor, which no adapter ever learns; the rest trains
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import chain

from trainer.verdicts import SPLITS, UNLEARNABLE, Node, Split, conversations_of, follow_replies, learnable_parts, nodes_of
from twin.turns import Message, Turn


@dataclass(frozen=True)
class Rules:
    """What cuts and counts; token counts come from `count` (the renderer's)."""

    gap_seconds: float
    max_tokens: int
    holdout_fraction: float
    validation_fraction: float
    repeat_cap: int
    anchor_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class Example:
    """`turns[0]` is the system turn; `targets` are indices into `turns`, `at` when each of them began, in unix seconds."""

    dialog_id: int
    split: Split
    turns: tuple[Turn, ...]
    targets: tuple[int, ...]
    at: tuple[int, ...]


@dataclass
class Tally:
    """What became of the owner's messages, and how often each text is a target already."""

    verdicts: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)

    def repeated(self, texts: Sequence[str], cap: int) -> set[int]:
        """Which of a dialog's texts, by index, are targets often enough. The others are counted."""
        found = set()
        for i, text in enumerate(texts):
            if self.texts[text] >= cap:
                found.add(i)
            else:
                self.texts[text] += 1
        return found


@dataclass(frozen=True)
class Measured:
    """A dialog whose turns are measured and split. `texts`: what would train, as the repeats are counted, which only
    `cut` needs: dialogs are measured in any order, and counted in that of their ids."""

    dialog_id: int
    system: Turn
    budget: int
    conversations: list[list[Node]]
    training: list[Node]
    texts: list[str]
    own_messages: int
    unlearnable: int


Count = Callable[[Sequence[Turn]], Sequence[int]]  # how many tokens each turn takes at most


def examples_of(
    dialog_id: int, messages: Sequence[Message], system: Turn, rules: Rules, count: Callable[[Turn], int], tally: Tally
) -> list[Example]:
    """All examples of one dialog, in order of time. `tally` is shared by the dialogs of a dataset."""
    measured = measure(dialog_id, messages, system, rules, lambda turns: [count(turn) for turn in turns])
    repeated = tally.repeated(measured.texts, rules.repeat_cap)
    return [example for example, _ in cut(measured, repeated, tally.verdicts)]


def measure(dialog_id: int, messages: Sequence[Message], system: Turn, rules: Rules, count: Count) -> Measured:
    """Everything about a dialog that no other dialog decides."""
    runs = list(chain.from_iterable(conversations_of(part, rules.gap_seconds) for part in learnable_parts(messages)))
    anchored = [_is_anchor(dialog_id, run[0].message_id, rules.anchor_fraction) for run in runs]
    conversations = [nodes_of(run) for run in runs]
    nodes = list(chain.from_iterable(conversations))
    head, *tokens = count([system, *(node.turn for node in nodes)])
    for node, taken in zip(nodes, tokens, strict=True):
        node.tokens = taken
    follow_replies(conversations)
    budget = rules.max_tokens - head
    for conversation in conversations:
        for i, node in enumerate(conversation):
            if node.verdict == "target" and _asked(conversation, i).tokens + node.tokens > budget:
                node.verdict = "too_long"
    targets = [node for node in chain.from_iterable(conversations) if node.verdict == "target"]
    _split(targets[:], rules)
    for conversation, is_anchor in zip(conversations, anchored, strict=True):
        if is_anchor:
            for node in conversation:
                if node.split == "train":
                    node.split = "anchor"
    training = [node for node in targets if node.split == "train"]
    unlearnable = sum(m.out and m.source == UNLEARNABLE for m in messages)
    texts = [" ".join(node.turn.content.casefold().split()) for node in training]
    return Measured(dialog_id, system, budget, conversations, training, texts, sum(m.out for m in messages), unlearnable)


def cut(measured: Measured, repeated: Collection[int], verdicts: Counter[str]) -> list[tuple[Example, list[int]]]:
    """The examples, in order of time, each with the tokens of its turns after the first; `verdicts` is added to."""
    for i in repeated:
        measured.training[i].verdict = "repeated"
    shown = 0
    for node in chain.from_iterable(measured.conversations):
        if node.turn.role == "assistant" and node.messages:
            shown += len(node.messages)
            verdicts[node.split if node.verdict == "target" else node.verdict] += len(node.messages)
    if measured.unlearnable:
        verdicts["business"] += measured.unlearnable
    if hidden := measured.own_messages - measured.unlearnable - shown:
        verdicts["service"] += hidden
    return [found for c in measured.conversations for split in SPLITS for found in _windows(measured, c, split)]


def _asked(conversation: Sequence[Node], i: int) -> Node:
    after = conversation[i].after
    return conversation[i - 1 if after is None else after]


def _split(targets: list[Node], rules: Rules) -> None:
    """The newest share of the chat is the holdout, the share before it validation. Few targets give at least one each."""
    targets.sort(key=lambda node: (node.messages[0].sent_at, node.messages[0].message_id))
    n = len(targets)
    holdout = math.ceil(n * rules.holdout_fraction) if n >= 4 else 0
    validation = math.ceil(n * rules.validation_fraction) if n >= 8 else 0
    for node in targets[n - holdout :]:
        node.split = "holdout"
    for node in targets[n - holdout - validation : n - holdout]:
        node.split = "validation"


def _is_anchor(dialog_id: int, first_message_id: int, fraction: float) -> bool:
    """Drawn by what never changes of a conversation, so that it stays in or out whatever is written later."""
    digest = hashlib.blake2b(f"{dialog_id}:{first_message_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * 2**64


def _windows(measured: Measured, conversation: list[Node], split: Split) -> list[tuple[Example, list[int]]]:
    """Cut between turns, never between a reply and what it answers; a later window begins with some turns of the one before."""
    budget = measured.budget
    found: list[tuple[Example, list[int]]] = []
    run: list[int] = []
    start, used = 0, 0

    def add(nodes: Sequence[Node], targets: Sequence[int]) -> None:
        turns, at = (measured.system, *(n.turn for n in nodes)), tuple(nodes[i].at for i in targets)
        found.append((Example(measured.dialog_id, split, turns, tuple(i + 1 for i in targets), at), [n.tokens for n in nodes]))

    def close() -> None:
        if run:
            add(conversation[start : run[-1] + 1], [i - start for i in run])
            run.clear()

    for i, node in enumerate(conversation):
        if node.split != split or node.verdict != "target":
            continue
        if node.after is not None:
            asked = conversation[_back(conversation, node.after, budget - node.tokens) : node.after + 1]
            add([*asked, node], [len(asked)])
            continue
        if run:
            used += sum(n.tokens for n in conversation[run[-1] + 1 : i + 1])
            if used > budget:
                close()
        if not run:
            start = _back(conversation, i - 1, min(budget - node.tokens, max(budget // 4, conversation[i - 1].tokens)))
            used = sum(n.tokens for n in conversation[start : i + 1])
        run.append(i)
    close()
    return found


def _back(conversation: Sequence[Node], last: int, budget: int) -> int:
    """The first turn of the longest stretch that ends with `last` and takes at most `budget` tokens."""
    start = last
    used = conversation[last].tokens
    while start > 0 and used + conversation[start - 1].tokens <= budget:
        start -= 1
        used += conversation[start].tokens
    return start
