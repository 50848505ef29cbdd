"""Who wrote it: a verifier trained on the owner's replies against the contacts' messages.

A logistic regression on counts of character n-grams, each scaled by its naive Bayes log-count ratio: NBSVM, Wang and
Manning 2012, "Baselines and Bigrams" (https://aclanthology.org/P12-2018). Its AUC on held-out replies of the owner against
held-out messages of the contacts says how far to trust it: 0.5 is a coin, and then so is the measure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from twin.turns import split_bubbles

FEW = 20  # replies of a side below which nobody's hand can be told
MARKS = re.compile(r"\A(?:> [^\n]*\n)?(?:\[[a-z_ ]+\] ?)?")  # twin.turns writes quotes and media for contacts only: no handwriting
LONGEST = 4  # characters of an n-gram
OFTEN = 2  # times that an n-gram was written, below which it is left out
NEWTON_STEPS = 6  # more move the AUC of owners 1, 4, 5 and 10 of the sample chats by 0.0002 at most
PENALTY = 10.0  # on half the squared weights, against the summed loss; chosen on owners 5 to 12 of them


@dataclass(frozen=True)
class Verifier:
    """`weights` are log-odds an n-gram; `auc` is of the held-out replies, None if there were none of one side."""

    weights: dict[str, float]
    auc: float | None

    def owner_chances(self, replies: Sequence[str]) -> list[float]:
        """For each reply the probability that the owner wrote it; 0.5 where nothing was written."""
        return [(1 + math.tanh(_log_odds(self.weights, _plain(reply)) / 2)) / 2 for reply in replies]


def train_verifier(owner: Sequence[str], contacts: Sequence[str], held_out: tuple[Sequence[str], Sequence[str]]) -> Verifier | None:
    """From replies of the owner and messages of contacts; `held_out` (owner, contacts) gives the AUC. None: too few of one side."""
    (mine, theirs), (unseen, unseen_theirs) = map(_written, (owner, contacts)), map(_written, held_out)
    if min(len(mine), len(theirs)) < FEW:
        return None
    weights = _fit(mine, theirs)
    if not unseen or not unseen_theirs:
        return Verifier(weights, None)
    return Verifier(weights, round(area_under_curve(*([_log_odds(weights, text) for text in side] for side in (unseen, unseen_theirs))), 4))


def area_under_curve(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The share of pairs in which the positive scores higher, a tie counted as half: the Mann-Whitney statistic, from mid-ranks."""
    import numpy

    _, place, count = numpy.unique([*positive, *negative], return_inverse=True, return_counts=True)
    ranks = (count.cumsum() - (count - 1) / 2)[place[: len(positive)]]
    return float(ranks.mean() - (len(positive) + 1) / 2) / len(negative)


def _fit(mine: Sequence[str], theirs: Sequence[str]) -> dict[str, float]:
    """Log-odds of the n-grams that were written twice or more. Newton's method, each step by conjugate gradients (Lin, Weng
    and Keerthi 2008, https://www.jmlr.org/papers/v9/lin08b.html)."""
    import numpy

    # A word stands in many replies, so its n-grams are summed once: two small sparse matrices in place of one large.
    words, reply, said = _matrix([text.split() for text in (*mine, *theirs)])
    grams, word, gram = _matrix([_grams(word) for word in words])
    count = len(mine) + len(theirs)

    def to_replies(weights: Any) -> Any:
        return numpy.bincount(reply, numpy.bincount(word, weights[gram], len(words))[said], count)

    def to_grams(of_replies: Any) -> Any:
        return numpy.bincount(gram, numpy.bincount(said, of_replies[reply], len(words))[word], len(grams))

    def curvature(slope: Any, step: Any) -> Any:
        return ratio * to_grams(slope * to_replies(ratio * step)) + PENALTY * step

    is_owner = numpy.repeat([1.0, 0.0], [len(mine), len(theirs)])
    importance = numpy.repeat([count / 2 / len(mine), count / 2 / len(theirs)], [len(mine), len(theirs)])  # as much for either side
    by_owner, by_contacts = 1 + to_grams(is_owner), 1 + to_grams(1 - is_owner)
    ratio = numpy.log(by_owner / by_owner.sum() / (by_contacts / by_contacts.sum())) * (by_owner + by_contacts >= 2 + OFTEN)
    weights = numpy.zeros(len(grams))
    for _ in range(NEWTON_STEPS):
        chances = (1 + numpy.tanh(to_replies(ratio * weights) / 2)) / 2
        gradient = ratio * to_grams(importance * (chances - is_owner)) + PENALTY * weights
        weights -= _solve(partial(curvature, importance * chances * (1 - chances)), gradient)
    return {gram: weight for gram, weight in zip(grams, (ratio * weights).tolist(), strict=True) if weight}


def _matrix(rows: Sequence[Sequence[str]]) -> tuple[dict[str, int], Any, Any]:
    """A matrix of counts with a column for each string: the columns, then row and column of each one that is counted."""
    import numpy

    columns = {name: i for i, name in enumerate(dict.fromkeys(chain.from_iterable(rows)))}
    lengths = [len(row) for row in rows]
    return columns, numpy.repeat(numpy.arange(len(rows)), lengths), numpy.array([columns[name] for row in rows for name in row])


def _solve(times: Callable[[Any], Any], target: Any) -> Any:
    """The x for which times(x) is `target` within a tenth of its length, by conjugate gradients."""
    x, left, direction = 0 * target, target, target
    length = first = left @ left
    while length > 0.01 * first:
        moved = times(direction)
        step = length / (direction @ moved)
        x, left = x + step * direction, left - step * moved
        before, length = length, left @ left
        direction = left + length / before * direction
    return x


def _grams(word: str) -> list[str]:
    """The n-grams of a word with a space on both sides. Case is part of the hand, so it stays."""
    padded = f" {word} "
    return [padded[i : i + n] for n in range(1, LONGEST + 1) for i in range(len(padded) - n + 1)]


def _log_odds(weights: dict[str, float], text: str) -> float:
    return sum(weights.get(gram, 0.0) for word in text.split() for gram in _grams(word))


def _written(replies: Sequence[str]) -> list[str]:
    """The words that somebody wrote in each; nothing is left of a voice message."""
    return [text for reply in replies if (text := _plain(reply))]


def _plain(reply: str) -> str:
    return "\n".join(text for bubble in split_bubbles(reply) if (text := MARKS.sub("", bubble).strip()))
