"""Base, active and candidate side by side on messages none of them saw.

loss            nats a token of the owner's real replies, each under the context it answers
context choice  how often a real reply gets its lowest loss under the context it answers, among five contexts of other
                chats (chance 0.20): a model that learned the voice and stopped listening falls here
distinct        share of different answers among those sampled for different held-out messages
anchor loss     the same loss on older conversations that no adapter learned: what must not be forgotten
generic loss    on general instructions that nothing trains on
verbatim        share of greedy answers that are, word for word, a longer reply that was trained on
style           trainer.style: the sampled answers beside everything that the owner wrote
unsure below    a fifth of the sampled answers had a lower mean log-probability a token: what twin.confidence holds back

Loss alone lies: an adapter can win it and answer "hey are you there?" to everything. Each figure comes with its standard
error. "owner" holds the ceiling: the owner's own replies to the same held-out messages; the base model is the floor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any

from trainer import instructions, style
from trainer.dataset_reader import load_tokenizer, read_examples
from trainer.examples import Example
from trainer.hearing import Exam, Heard, hear_all
from trainer.scoring import CONTEXTS, choose_items, choose_talks, spread
from twin.errors import InputError
from twin.generator import Sampling
from twin.progress import Progress, silent
from twin.renderer import Renderer

ANSWERS = 50
LONG_WORDS, LONG_CHARACTERS = 5, 25  # a reply of less says nothing when it is said again
SWAPS = 400
UNSURE = 0.2  # the share of answers that count as unsure
FEWEST_ANSWERS = 10  # fewer have no fifth to speak of


def evaluate(
    dataset: Path,
    base: Path,
    adapters: Sequence[Path],
    progress: Progress = silent,
    *,
    items: int = 240,
    answers: int = ANSWERS,
    sampling: Sampling | None = None,
    generic: Path | None = None,
    cache: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Figures of "base", of each adapter (by its folder's name) and of the "owner", on `items` replies or as many as there are.

    "answers" holds what was said to `answers` held-out messages: {"message", "owner", "answer"} each; "items" (tokens, nats,
    context chosen) and "anchors" (tokens, nats) each item's own score, and "difference_errors" for each other model the
    standard errors of the differences in what was said: what trainer.gate needs. `cache` is a folder for what was heard.
    Raises InputError if the holdout is too small to say anything, ModelError if an adapter does not belong to the base.
    """
    renderer = Renderer(load_tokenizer(base))
    holdout = list(read_examples(dataset, "holdout"))
    chosen = choose_items(holdout, renderer, items)
    if len(chosen) < CONTEXTS:
        raise InputError(
            f"The holdout has {len(chosen)} replies; at least {CONTEXTS} are needed.",
            mend="Collect more history, or ask more contacts for consent.",
        )
    exam = Exam(
        dataset=dataset.name,
        items=chosen,
        anchors=choose_items(list(read_examples(dataset, "anchor")), renderer, max(CONTEXTS, items // 2)),
        spoken=spread(chosen, answers),
        generic=choose_talks(instructions.held_out(generic), renderer, items) or choose_talks(instructions.held_out(None), renderer, items),
        sampling=sampling or Sampling(),
    )
    heard = hear_all(base, adapters, renderer, exam, cache, progress)
    training = list(read_examples(dataset, "train"))
    likeness = style.learn(*_sides(training), held_out=_sides(holdout))
    known = {_normal(text) for e in training for i in e.targets if _is_long(text := e.turns[i].content)}
    found = {name: _figures(exam, one, likeness, known) for name, one in heard.items()}
    for name, one in heard.items():
        others = {other: heard[other].said for other in heard if other != name}
        found[name]["difference_errors"] = {other: _difference_errors(likeness, one.said, said) for other, said in others.items()}
    real = [item.reply.content for item in exam.items]
    found["owner"] = {
        **likeness.measure([item.reply.content for item in exam.spoken]),
        **_verbatim(real, known),
        "item_count": len(real),
        **({"authorship_auc": likeness.verifier.auc} if likeness.verifier and likeness.verifier.auc is not None else {}),
    }
    return found


def _sides(examples: Sequence[Example]) -> tuple[list[str], list[str]]:
    """What the owner replied, and what contacts wrote."""
    mine = [e.turns[i].content for e in examples for i in e.targets]
    theirs = [turn.content for e in examples for turn in e.turns if turn.role == "user"]
    return mine, theirs


def _figures(exam: Exam, heard: Heard, likeness: style.Likeness, known: set[str]) -> dict[str, Any]:
    said, chosen = heard.said, [was for _, _, was in heard.items]
    figures: dict[str, Any] = {
        **_loss("loss", [(tokens, nats) for tokens, nats, _ in heard.items]),
        **_share("context_choice", sum(chosen), len(chosen)),
        **_share("distinct", _different(said), len(said)),
        **(_loss("anchor_loss", heard.anchors) if heard.anchors else {}),
        **_loss("generic_loss", heard.generic),
        **(_verbatim(heard.greedy, known) if heard.greedy else {}),
        **likeness.measure(said),
        **_unsure(heard.sureness),
    }
    return figures | {
        "item_count": len(heard.items),
        "anchor_count": len(heard.anchors),
        "items": heard.items,
        "anchors": heard.anchors,
        "answers": [
            {"message": item.context[-1].content, "owner": item.reply.content, "answer": answer}
            for item, answer in zip(exam.spoken, said, strict=True)
        ],
    }


def _loss(name: str, scores: Sequence[tuple[int, float]]) -> dict[str, float]:
    """Nats a token with the standard error of a ratio: the spread of each item's nats around what its tokens promise."""
    tokens = sum(t for t, _ in scores)
    loss = sum(n for _, n in scores) / tokens
    spread_ = sum((n - loss * t) ** 2 for t, n in scores)
    return {name: round(loss, 4), f"{name}_error": round(math.sqrt(spread_) / tokens, 4)}


def _share(name: str, count: int, of: int) -> dict[str, float]:
    share = count / of
    return {name: round(share, 4), f"{name}_error": round(math.sqrt(share * (1 - share) / of), 4)}


def _verbatim(replies: Sequence[str], known: set[str]) -> dict[str, float]:
    repeated = sum(_is_long(reply) and _normal(reply) in known for reply in replies)
    return _share("verbatim", repeated, len(replies)) | {"verbatim_count": repeated, "verbatim_of": len(replies)}


def _difference_errors(likeness: style.Likeness, one: Sequence[str], other: Sequence[str]) -> dict[str, float]:
    """Standard errors of differences in style and in distinct answers, by swapping what the two said (trainer.style)."""
    import numpy

    swaps = numpy.random.default_rng(1).random((SWAPS, len(one))) < 0.5
    differences = []
    for swap in swaps:
        pairs = [(b, a) if moved else (a, b) for a, b, moved in zip(one, other, swap, strict=True)]
        differences.append((_different([a for a, _ in pairs]) - _different([b for _, b in pairs])) / len(one))
    return {"distinct": round(float(numpy.std(differences)), 4), **likeness.difference_errors(one, other)}


def _unsure(sureness: Sequence[float]) -> dict[str, float]:
    """The UNSURE quantile, between the two answers that it lies between; nothing of too few."""
    if len(sureness) < FEWEST_ANSWERS:
        return {}
    return {"unsure_below": round(quantiles(sureness, n=round(1 / UNSURE), method="inclusive")[0], 4)}


def _different(said: Sequence[str]) -> int:
    return len({_normal(text) for text in said})


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def _is_long(text: str) -> bool:
    return len(text.split()) >= LONG_WORDS or len(text) >= LONG_CHARACTERS
