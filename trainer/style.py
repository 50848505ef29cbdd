"""How alike two sets of replies are in manner: each measure is 1 where they cannot be told apart and falls towards 0.

length, case, punctuation, emoji, burst   1 - the Jensen-Shannon distance (base 2) of two histograms
vocabulary                                share of words that the owner has used more than once
authorship                                trainer.authorship: the mean probability that the owner wrote it

The distance of few replies from many is never 0, so the owner's own replies are measured in the same number as a model's:
what they reach is the ceiling. Errors are bootstrapped over replies. The error of the difference of two models that answered
the same messages comes from swapping their answers at random, message by message: what the difference would scatter by if
it did not matter which of the two had spoken.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.authorship import Verifier, train_verifier
from twin.turns import split_bubbles

MEASURES = ("length", "case", "punctuation", "emoji", "burst", "vocabulary", "authorship")
MOST = 4_000  # replies of each side that are looked at, drawn evenly: the cost does not grow with the history
RESAMPLED = 400
LENGTHS = (0, 1, 2, 3, 5, 8, 12, 18, 28, 45)
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
SMILEY = re.compile(r"[:;=][-']?[()DPp/|*3]|\b[xX]D\b|<3")
LETTERLIKE = 0x2300  # below it "So" holds ©, ° and ™, which nobody smiles with


@dataclass(frozen=True)
class Likeness:
    """What the owner's replies look like, learned once; others are held against it."""

    habits: dict[str, Counter[str]]
    vocabulary: frozenset[str]
    verifier: Verifier | None  # None: too few of one side to tell

    def measure(self, replies: Sequence[str]) -> dict[str, float]:
        """`style_<measure>` and `style_<measure>_error` of at least one reply, and `style`, the mean of all; authorship only where
        a verifier could be made."""
        import numpy

        drawn = numpy.random.default_rng(0).integers(0, len(replies), size=(RESAMPLED, len(replies)))
        times = numpy.stack([numpy.bincount(row, minlength=len(replies)) for row in drawn])  # [draw][reply]
        found: dict[str, float] = {}
        for name, (seen, kept) in self._seen(replies).items():
            found[f"style_{name}"] = round(float(_value(seen.sum(0), kept)), 4)
            found[f"style_{name}_error"] = round(float(_value(times @ seen, kept).std()), 4)
        measured = [found[f"style_{name}"] for name in MEASURES if f"style_{name}" in found]
        return found | {"style": round(sum(measured) / len(measured), 4)}

    def difference_errors(self, one: Sequence[str], other: Sequence[str]) -> dict[str, float]:
        """Standard error of each measure's difference between two models that answered the same messages, in order."""
        import numpy

        swapped = numpy.random.default_rng(0).random((RESAMPLED, len(one))) < 0.5
        both = self._seen([*one, *other])
        found = {}
        for name, (seen, kept) in both.items():
            a, b = seen[: len(one)], seen[len(one) :]
            moved = swapped @ (b - a)
            found[f"style_{name}"] = round(float((_value(a.sum(0) + moved, kept) - _value(b.sum(0) - moved, kept)).std()), 4)
        return found

    def _seen(self, replies: Sequence[str]) -> dict[str, tuple[Any, Any]]:
        """For each measure what every reply adds, (replies, columns), and the owner's histogram in the same columns; None
        where the measure is a share: its columns are (how much of the owner, out of how much)."""
        import numpy

        found: dict[str, tuple[Any, Any]] = {}
        for name, look in LOOKS.items():
            counts = [Counter(look(reply)) for reply in replies]
            columns = sorted(self.habits[name].keys() | {key for count in counts for key in count})
            seen = numpy.array([[count[key] for key in columns] for count in counts], dtype=float)
            found[name] = seen, numpy.array([self.habits[name][key] for key in columns], dtype=float)
        words = [WORD.findall(reply.casefold()) for reply in replies]
        known = [(sum(word in self.vocabulary for word in said), len(said)) for said in words]
        found["vocabulary"] = numpy.array(known, dtype=float), None
        if self.verifier is not None:
            found["authorship"] = numpy.array([(p, 1) for p in self.verifier.owner_chances(replies)]), None
        return found


def learn(owner: Sequence[str], contacts: Sequence[str], *, held_out: tuple[Sequence[str], Sequence[str]]) -> Likeness:
    """From the owner's replies and the contacts' messages that were trained on; `held_out` (owner, contacts) gives the AUC."""
    mine, theirs = _some(owner), _some(contacts)
    words = Counter(word for reply in mine for word in WORD.findall(reply.casefold()))
    return Likeness(
        habits={name: Counter(key for reply in mine for key in look(reply)) for name, look in LOOKS.items()},
        vocabulary=frozenset(word for word, count in words.items() if count > 1),
        verifier=train_verifier(mine, theirs, (_some(held_out[0]), _some(held_out[1]))),
    )


def _some(replies: Sequence[str]) -> list[str]:
    return list(replies) if len(replies) <= MOST else random.Random(0).sample(list(replies), MOST)


# --- what is looked at: one or more keys of a histogram a reply -------------------------------------------------------


def _length(reply: str) -> list[str]:
    words = len(reply.split())
    return [str(next((bound for bound in LENGTHS if words <= bound), "more"))]


def _case(reply: str) -> list[str]:
    def of(bubble: str) -> str:
        letters = [c for c in bubble if c.isalpha()]
        if not any(c.isupper() or c.islower() for c in letters):
            return "none"
        if len(letters) > 1 and all(not c.islower() for c in letters):
            return "capitals"
        return "lower" if not any(c.isupper() for c in letters) else "begins" if letters[0].isupper() else "inside"

    return [of(bubble) for bubble in split_bubbles(reply)]


def _punctuation(reply: str) -> list[str]:
    def of(bubble: str) -> str:
        words = SMILEY.sub("", bubble).rstrip()
        end = "..." if words.endswith(("...", "…")) else words[-1:] if unicodedata.category(words[-1:] or "a").startswith("P") else "none"
        return f"{end} after a comma" if "," in words[:-1] else end

    return [of(bubble) for bubble in split_bubbles(reply)]


def _emoji(reply: str) -> list[str]:
    count = sum(unicodedata.category(c) == "So" and ord(c) >= LETTERLIKE for c in reply)
    return [f"{min(count, 3)}{' and a smiley' if SMILEY.search(reply) else ''}"]


def _burst(reply: str) -> list[str]:
    return [str(min(len(split_bubbles(reply)), 6))]


LOOKS: dict[str, Callable[[str], list[str]]] = {
    "length": _length,
    "case": _case,
    "punctuation": _punctuation,
    "emoji": _emoji,
    "burst": _burst,
}


def _value(summed: Any, kept: Any) -> Any:
    """A measure of sums (..., columns): a share where `kept` is None, else 1 - the Jensen-Shannon distance from `kept`."""
    import numpy

    if kept is None:
        return numpy.where(summed[..., 1] > 0, summed[..., 0] / numpy.maximum(summed[..., 1], 1e-9), 0.0)
    total = summed.sum(-1, keepdims=True)
    p, q = summed / numpy.maximum(total, 1e-9), kept / max(kept.sum(), 1e-9)
    mean = (p + q) / 2
    entropies = [numpy.where(x > 0, x * numpy.log2(numpy.maximum(x, 1e-300)), 0.0).sum(-1) for x in (p, q, mean)]
    divergence = (entropies[0] + entropies[1]) / 2 - entropies[2]
    alike = 1.0 - numpy.sqrt(numpy.clip(divergence, 0.0, 1.0))
    return numpy.where(total[..., 0] > 0, alike, 0.0)  # nothing said is like nobody
