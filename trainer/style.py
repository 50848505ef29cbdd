"""How alike two sets of replies are in manner: each measure is 1 where they cannot be told apart and falls towards 0.

length, case, punctuation, emoji, burst   1 - the Jensen-Shannon divergence (base 2) of two histograms
vocabulary                                share of words that the owner has used more than once
authorship                                what a verifier thinks: the mean probability that the owner wrote it

The verifier is a logistic regression on TF-IDF of character n-grams, the classic of authorship verification; its AUC on
held-out replies of the owner against messages of the contacts says how far to trust it. Errors are bootstrapped over replies.
"""

from __future__ import annotations

import math
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twin.turns import split_bubbles

MEASURES = ("length", "case", "punctuation", "emoji", "burst", "vocabulary", "authorship")
MOST = 4_000  # replies of each side that are looked at, drawn evenly: the cost does not grow with the history
RESAMPLED = 200
LENGTHS = (1, 2, 3, 5, 8, 12, 18, 28, 45)
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


@dataclass(frozen=True)
class Likeness:
    """What the owner's replies look like, learned once; `measure` holds others against it."""

    histograms: dict[str, Counter[str]]
    vocabulary: frozenset[str]
    verifier: Any
    auc: float | None  # None: too few of one side to tell

    def measure(self, replies: Sequence[str]) -> dict[str, float]:
        """`style_<measure>` and `style_<measure>_error` of at least one reply, and `style`, the mean of all; authorship only where
        a verifier could be made."""
        import numpy

        drawn = numpy.random.default_rng(0).integers(0, len(replies), size=(RESAMPLED, len(replies)))
        found: dict[str, float] = {}
        for name, look in LOOKS.items():
            seen = [look(reply) for reply in replies]
            kept = self.histograms[name]
            again = [_alike(_sum(seen[i] for i in row), kept) for row in drawn]
            found[f"style_{name}"] = round(_alike(_sum(seen), kept), 4)
            found[f"style_{name}_error"] = round(float(numpy.std(again)), 4)
        shares = {"vocabulary": [self._known(reply) for reply in replies]}
        if self.verifier is not None:
            shares["authorship"] = [float(p) for p in self.verifier.predict_proba([_plain(reply) for reply in replies])[:, 1]]
        for name, values in shares.items():
            array = numpy.asarray(values)
            found[f"style_{name}"] = round(float(array.mean()), 4)
            found[f"style_{name}_error"] = round(float(array[drawn].mean(axis=1).std()), 4)
        measured = [found[f"style_{name}"] for name in MEASURES if f"style_{name}" in found]
        return found | {"style": round(sum(measured) / len(measured), 4)}

    def _known(self, reply: str) -> float:
        words = WORD.findall(reply.casefold())
        return sum(word in self.vocabulary for word in words) / len(words) if words else 1.0


def learn(owner: Sequence[str], contacts: Sequence[str], *, held_out: tuple[Sequence[str], Sequence[str]]) -> Likeness:
    """From the owner's replies and the contacts' messages that were trained on; `held_out` (owner, contacts) gives the AUC."""
    mine, theirs = _some(owner), _some(contacts)
    words = Counter(word for reply in mine for word in WORD.findall(reply.casefold()))
    verifier = _verifier(mine, theirs)
    return Likeness(
        histograms={name: _sum(map(look, mine)) for name, look in LOOKS.items()},
        vocabulary=frozenset(word for word, count in words.items() if count > 1),
        verifier=verifier,
        auc=_auc(verifier, *held_out) if verifier is not None else None,
    )


def _some(replies: Sequence[str]) -> list[str]:
    return list(replies) if len(replies) <= MOST else random.Random(0).sample(list(replies), MOST)


# --- what is looked at ------------------------------------------------------------------------------------------------


def _length(reply: str) -> Counter[str]:
    words = len(reply.split())
    return Counter([str(next((bound for bound in LENGTHS if words <= bound), "more"))])


def _case(reply: str) -> Counter[str]:
    def of(bubble: str) -> str:
        letters = [c for c in bubble if c.isalpha()]
        if not letters or not any(c.isupper() or c.islower() for c in letters):
            return "none"
        if len(letters) > 1 and all(not c.islower() for c in letters):
            return "capitals"
        return "lower" if not any(c.isupper() for c in letters) else "begins" if letters[0].isupper() else "inside"

    return Counter(of(bubble) for bubble in split_bubbles(reply))


def _punctuation(reply: str) -> Counter[str]:
    def of(bubble: str) -> str:
        end = bubble.rstrip()[-3:]
        if end.endswith(("...", "…")):
            return "..."
        return end[-1] if end and unicodedata.category(end[-1]).startswith("P") else "none"

    return Counter(of(bubble) for bubble in split_bubbles(reply))


def _emoji(reply: str) -> Counter[str]:
    count = sum(unicodedata.category(c) == "So" for c in reply)
    return Counter([str(min(count, 3))])


def _burst(reply: str) -> Counter[str]:
    return Counter([str(min(len(split_bubbles(reply)), 6))])


LOOKS: dict[str, Callable[[str], Counter[str]]] = {
    "length": _length,
    "case": _case,
    "punctuation": _punctuation,
    "emoji": _emoji,
    "burst": _burst,
}


def _sum(counters: Any) -> Counter[str]:
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _alike(one: Counter[str], other: Counter[str]) -> float:
    """1 - the Jensen-Shannon divergence (base 2) of two histograms; 0 if one of them is empty."""
    n, m = one.total(), other.total()
    if not n or not m:
        return 0.0
    divergence = 0.0
    for key in one.keys() | other.keys():
        p, q = one[key] / n, other[key] / m
        mean = (p + q) / 2
        divergence += (p / 2) * math.log2(p / mean) if p else 0.0
        divergence += (q / 2) * math.log2(q / mean) if q else 0.0
    return 1.0 - divergence


# --- who wrote it -----------------------------------------------------------------------------------------------------

FEW = 20  # replies of each side below which nobody's hand can be told


def _plain(reply: str) -> str:
    return "\n".join(split_bubbles(reply))


def _verifier(owner: Sequence[str], contacts: Sequence[str]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    if min(len(owner), len(contacts)) < FEW:
        return None
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), min_df=2, sublinear_tf=True, lowercase=False, max_features=60_000)
    model = make_pipeline(grams, LogisticRegression(class_weight="balanced", max_iter=200))
    return model.fit([_plain(reply) for reply in (*owner, *contacts)], [1] * len(owner) + [0] * len(contacts))


def _auc(verifier: Any, owner: Sequence[str], contacts: Sequence[str]) -> float | None:
    from sklearn.metrics import roc_auc_score

    if not owner or not contacts:
        return None
    scores = verifier.predict_proba([_plain(reply) for reply in (*owner, *contacts)])[:, 1]
    return round(float(roc_auc_score([1] * len(owner) + [0] * len(contacts), scores)), 4)
