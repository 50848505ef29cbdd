"""What one run learns from: everything, or what is new since the parent with a share of the old; always some general instructions.

LoRA on little data can wreck an instruct model; a few per cent of generic rows and a replay of the old hold it
(arXiv 2512.22337, 2403.08763). Rows that are not used are not rendered: the cost follows what is new, not the history. No row
is in a mixture twice, so a long history gets at most all the general instructions there are, once an epoch.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from trainer.batches import Row, to_rows
from trainer.examples import Example
from trainer.instructions import Talk
from twin.errors import NothingNew
from twin.renderer import Renderer
from twin.settings import Training

GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Mixture:
    """`rows` for the trainer; how many of the owner's turns in them are new, and the tokens of each part."""

    rows: list[Row]
    new_targets: int
    new_tokens: int
    replay_tokens: int
    generic_tokens: int

    def __str__(self) -> str:
        """For the line that follows a run: `42 % new, 45 % repeated, 13 % general`."""
        parts = {"new": self.new_tokens, "repeated": self.replay_tokens, "general": self.generic_tokens}
        return ", ".join(f"{count / sum(parts.values()):.0%} {name}".replace("%", " %") for name, count in parts.items() if count)

    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("new_targets", "new_tokens", "replay_tokens", "generic_tokens")}


def mix(
    examples: Iterable[Example],
    generic: Sequence[Talk],
    renderer: Renderer,
    training: Training,
    learned_until: Mapping[str, int] | None = None,
) -> Mixture:
    """`learned_until` (unix seconds for each dialog, as JSON keeps it) is what the parent knows; None: it knows nothing.

    Raises NothingNew if the parent knows it all.
    """
    new, old = [], []
    for example in examples:
        fresh = [i for i, at in enumerate(example.at) if at > _until(learned_until, example)]
        if fresh:  # what the parent knows of such a window is context now
            targets, at = tuple(example.targets[i] for i in fresh), tuple(example.at[i] for i in fresh)
            new.append(replace(example, targets=targets, at=at))
        else:
            old.append(example)
    if not new and learned_until is not None:
        raise NothingNew("Nothing new to learn: the active adapter knows every reply there is to train on.")
    # Another draw each night, or every night would repeat the same old rows; the same one after a kill.
    draw = random.Random(json.dumps([training.seed, learned_until and sorted(learned_until.items())]))
    rows = to_rows(new, renderer)
    new_tokens = _tokens(rows)
    replayed = _up_to(round(new_tokens * training.replay), _spread(old, draw), renderer)
    own = new_tokens + _tokens(replayed)
    talks = (Example(0, "train", talk, _answers(talk), (0,) * len(_answers(talk))) for talk in draw.sample(list(generic), len(generic)))
    general = _up_to(round(own * training.generic), talks, renderer)
    return Mixture(
        rows=rows + replayed + general,
        new_targets=sum(len(e.targets) for e in new),
        new_tokens=new_tokens,
        replay_tokens=_tokens(replayed),
        generic_tokens=_tokens(general),
    )


def _until(learned_until: Mapping[str, int] | None, example: Example) -> int:
    return -1 if learned_until is None else learned_until.get(str(example.dialog_id), -1)


def _spread(examples: Sequence[Example], draw: random.Random) -> Iterator[Example]:
    """All of them once, in an order any beginning of which is spread evenly over the whole: the multiples of the golden ratio,
    taken modulo 1, leave gaps of three lengths at most."""
    start = draw.random()
    order = sorted(range(len(examples)), key=lambda i: (start + i * GOLDEN) % 1)
    return (examples[i] for i in order)


def _up_to(tokens: int, examples: Iterable[Example], renderer: Renderer) -> list[Row]:
    """Rows of the first examples that hold so many tokens together."""
    rows: list[Row] = []
    held = 0
    for example in examples:
        if held >= tokens:
            break
        made = to_rows([example], renderer)
        rows += made
        held += _tokens(made)
    return rows


def _answers(talk: Talk) -> tuple[int, ...]:
    return tuple(i for i, turn in enumerate(talk) if turn.role == "assistant")


def _tokens(rows: Sequence[Row]) -> int:
    return sum(len(row.ids) for row in rows)
