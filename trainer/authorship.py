"""Who wrote it: a verifier trained on the owner's replies against the contacts' messages.

A logistic regression on TF-IDF of character n-grams, the classic of authorship verification. Its AUC on held-out replies of
the owner against held-out messages of the contacts says how far to trust it: 0.5 is a coin, and then so is the measure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twin.turns import split_bubbles

FEW = 20  # replies of a side below which nobody's hand can be told
MARKS = re.compile(r"\A(?:> [^\n]*\n)?(?:\[[a-z_ ]+\] ?)?")  # twin.turns writes quotes and media for contacts only: no handwriting


@dataclass(frozen=True)
class Verifier:
    """`auc` is of the held-out replies; None: there were none of one side."""

    pipeline: Any
    auc: float | None

    def owner_chances(self, replies: Sequence[str]) -> list[float]:
        """For each reply the probability that the owner wrote it."""
        return _chances(self.pipeline, replies)


def train_verifier(owner: Sequence[str], contacts: Sequence[str], held_out: tuple[Sequence[str], Sequence[str]]) -> Verifier | None:
    """From replies of the owner and messages of contacts; `held_out` (owner, contacts) gives the AUC. None: too few of one side."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline

    (mine, theirs), (unseen, unseen_theirs) = map(_written, (owner, contacts)), map(_written, held_out)
    if min(len(mine), len(theirs)) < FEW:
        return None
    # Case is part of the hand, so it stays.
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), min_df=2, sublinear_tf=True, lowercase=False, max_features=60_000)
    pipeline = make_pipeline(grams, LogisticRegression(class_weight="balanced", max_iter=200))
    pipeline.fit([*mine, *theirs], [1] * len(mine) + [0] * len(theirs))
    if not unseen or not unseen_theirs:
        return Verifier(pipeline, None)
    auc = roc_auc_score([1] * len(unseen) + [0] * len(unseen_theirs), _chances(pipeline, [*unseen, *unseen_theirs]))
    return Verifier(pipeline, round(float(auc), 4))


def _chances(pipeline: Any, replies: Sequence[str]) -> list[float]:
    return [float(p) for p in pipeline.predict_proba([_plain(reply) for reply in replies])[:, 1]]


def _written(replies: Sequence[str]) -> list[str]:
    """What somebody really wrote of each; nothing is left of a voice message."""
    return [text for reply in replies if (text := _plain(reply))]


def _plain(reply: str) -> str:
    return "\n".join(text for bubble in split_bubbles(reply) if (text := MARKS.sub("", bubble).strip()))
