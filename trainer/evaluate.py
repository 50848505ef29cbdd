"""Base, active and candidate side by side on messages none of them saw.

loss            nats a token of the owner's real replies, each under the context it answers
context choice  how often a real reply gets its lowest loss under the context it answers, among five contexts of other
                chats (chance 0.20): a model that learned the voice and stopped listening falls here
distinct        share of different answers among those sampled for different held-out messages
anchor loss     the same loss on older conversations that no adapter learned: what must not be forgotten
generic loss    on general instructions that nothing trains on
verbatim        share of greedy answers that are, word for word, a longer reply that was trained on
style           trainer.style: the sampled answers beside everything that the owner wrote

Loss alone lies: an adapter can win it and answer "hey are you there?" to everything. Each figure comes with its standard
error. "owner" holds the ceiling: the owner's own held-out replies under the same measures; the base model is the floor.
What a model said and how each item scored is kept by content, so the active adapter is not asked twice.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer import instructions, scoring, style
from trainer.dataset import load_tokenizer, read_examples
from trainer.examples import Example
from trainer.scoring import CONTEXTS, Item, choose_items, groups, own_nats, score_group, spread
from twin.base_folder import base_name, tokenizer_hash
from twin.errors import InputError, ModelError
from twin.generator import Sampling
from twin.progress import Progress, silent
from twin.sealing import write_private
from twin.turns import Renderer

ANSWERS = 50
LONG_WORDS, LONG_CHARACTERS = 5, 25  # a reply of less says nothing when it is said again
KEPT_AS = "1"  # changes when figures of before must not be used any more


@dataclass(frozen=True)
class Heard:
    """What one model made of the same questions. `items` are (tokens, nats, context chosen), the others (tokens, nats)."""

    items: list[tuple[int, float, bool]]
    anchors: list[tuple[int, float]]
    generic: list[tuple[int, float]]
    said: list[str]
    greedy: list[str]


@dataclass(frozen=True)
class Exam:
    """What every model is asked."""

    items: list[Item]
    anchors: list[Item]
    spoken: list[Item]  # of `items`, those that get an answer
    generic: list[instructions.Talk]
    sampling: Sampling

    def work(self) -> float:
        """About how long one model takes, in groups scored."""
        return math.ceil(len(self.items) / CONTEXTS) + (len(self.anchors) + len(self.generic)) / 20 + len(self.spoken) / 4


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

    "answers" holds what was said to `answers` held-out messages: {"message", "owner", "answer"} each; "items" and "anchors"
    each item's own score, for errors of differences. `cache` is a folder for what was heard of each model.
    Raises InputError if the holdout is too small to say anything, ModelError if an adapter does not belong to the base.
    """
    renderer = Renderer(load_tokenizer(base))
    chosen = choose_items(list(read_examples(dataset, "holdout")), renderer, items)
    if len(chosen) < CONTEXTS:
        raise InputError(
            f"The holdout has {len(chosen)} replies; at least {CONTEXTS} are needed.",
            mend="Collect more history, or ask more contacts for consent.",
        )
    anchors = choose_items(list(read_examples(dataset, "anchor")), renderer, max(CONTEXTS, items // 2))
    talks = instructions.held_out(generic)
    exam = Exam(chosen, anchors, spread(chosen, answers), talks, sampling or Sampling())
    for folder in adapters:
        _check(folder, base)
    about = [dataset.name, base_name(base), tokenizer_hash(base), items, answers, asdict(exam.sampling), instructions.digest(generic)]
    heard = _hear_all(base, adapters, renderer, exam, cache, about, progress)
    training = list(read_examples(dataset, "train"))
    likeness = _likeness(training, list(read_examples(dataset, "holdout")))
    known = {_normal(text) for e in training for i in e.targets if _is_long(text := e.turns[i].content)}
    found = {name: _figures(exam, one, likeness, known) for name, one in heard.items()}
    real = [item.reply.content for item in exam.items]
    found["owner"] = {**likeness.measure(real), **_verbatim(real, known), "authorship_auc": likeness.auc, "items": len(real)}
    return found


def _hear_all(
    base: Path, adapters: Sequence[Path], renderer: Renderer, exam: Exam, cache: Path | None, about: list[Any], progress: Progress
) -> dict[str, Heard]:
    """Ask those that were not asked before. The models are loaded only if there is anything to ask."""
    import torch

    names = ["base", *(folder.name for folder in adapters)]
    kept = {name: _kept(cache, [KEPT_AS, name, *about]) for name in names}
    found = {name: heard for name, path in kept.items() if path and (heard := _recall(path))}
    missing = [name for name in names if name not in found]
    model = _load(base, adapters) if missing else None
    work, done = len(missing) * exam.work(), 0.0

    def tell(step: float, note: str) -> None:
        nonlocal done
        done += step
        progress(done, work, note)

    for number, name in enumerate(names):
        if name not in found:
            with torch.inference_mode(), _speaking_as(model, number):
                found[name] = _hear(model, renderer, exam, name, tell)
            if path := kept[name]:
                write_private(path, json.dumps(asdict(found[name]), ensure_ascii=False).encode())
    progress(work, work)
    return {name: found[name] for name in names}


def _hear(model: Any, renderer: Renderer, exam: Exam, name: str, tell: Any) -> Heard:
    items: list[tuple[int, float, bool]] = []
    for group, counted in groups(exam.items):
        items += [(s.tokens, round(s.nats, 4), s.chosen) for s in score_group(model, renderer, group)[:counted]]
        tell(1, f"{name}: reading {len(items)} of {len(exam.items)}")
    anchors = own_nats(model, renderer, [(*item.context, item.reply) for item in exam.anchors])
    generic = own_nats(model, renderer, exam.generic)
    tell((len(anchors) + len(generic)) / 20, f"{name}: answering {len(exam.spoken)} messages")
    said = scoring.answers(model, renderer, exam.spoken, exam.sampling)
    tell(len(said) / 8, f"{name}: answering {len(exam.spoken)} messages")
    likeliest = Sampling(temperature=0, max_new_tokens=exam.sampling.max_new_tokens)
    greedy = scoring.answers(model, renderer, exam.spoken, likeliest) if name != "base" else []
    tell(len(said) / 8, name)
    return Heard(items, _rounded(anchors), _rounded(generic), said, greedy)


def _rounded(scores: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    return [(tokens, round(nats, 4)) for tokens, nats in scores]


# --- figures ----------------------------------------------------------------------------------------------------------


def _figures(exam: Exam, heard: Heard, likeness: style.Likeness, known: set[str]) -> dict[str, Any]:
    said, chosen = heard.said, [was for _, _, was in heard.items]
    figures: dict[str, Any] = {
        **_loss("loss", [(tokens, nats) for tokens, nats, _ in heard.items]),
        **_share("context_choice", sum(chosen), len(chosen)),
        **_share("distinct", len({_normal(text) for text in said}), len(said)),
        **(_loss("anchor_loss", heard.anchors) if heard.anchors else {}),
        **_loss("generic_loss", heard.generic),
        **(_verbatim(heard.greedy, known) if heard.greedy else {}),
        **likeness.measure(said),
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


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def _is_long(text: str) -> bool:
    return len(text.split()) >= LONG_WORDS or len(text) >= LONG_CHARACTERS


def _likeness(training: Sequence[Example], holdout: Sequence[Example]) -> style.Likeness:
    def sides(examples: Sequence[Example]) -> tuple[list[str], list[str]]:
        mine = [e.turns[i].content for e in examples for i in e.targets]
        theirs = [turn.content for e in examples for turn in e.turns if turn.role == "user"]
        return mine, theirs

    return style.learn(*sides(training), held_out=sides(holdout))


# --- what is kept, and the models -------------------------------------------------------------------------------------


def _kept(cache: Path | None, about: list[Any]) -> Path | None:
    return cache / f"{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:24]}.json" if cache else None


def _recall(path: Path) -> Heard | None:
    """What was kept; None if there is nothing. The file was written in one step, so what can be read is whole."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Heard(
        [(t, n, c) for t, n, c in row["items"]],
        [(t, n) for t, n in row["anchors"]],
        [(t, n) for t, n in row["generic"]],
        row["said"],
        row["greedy"],
    )


def _load(base: Path, adapters: Sequence[Path]) -> Any:
    """The base model with all adapters in it, as "a1", "a2", ... (PEFT's names may hold no dot)."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    for folder in adapters:
        _check(folder, base)
    logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, attn_implementation="sdpa", device_map={"": device})
    for number, folder in enumerate(adapters, 1):
        if number == 1:
            model = PeftModel.from_pretrained(model, folder, adapter_name="a1", autocast_adapter_dtype=False)
        else:
            model.load_adapter(folder, adapter_name=f"a{number}", autocast_adapter_dtype=False)
    return model.eval()


def _check(adapter: Path, base: Path) -> None:
    try:
        trained_on = json.loads((adapter / "manifest.json").read_text(encoding="utf-8"))["base"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ModelError(f"{adapter.name} is not a complete adapter.", mend="`twin adapters` lists those that are.") from exc
    if trained_on != {"name": base_name(base), "tokenizer": tokenizer_hash(base)}:
        raise ModelError(
            f"Adapter {adapter.name} was trained on {trained_on['name']} or with another tokenizer, not on {base_name(base)} as it is now.",
            mend="Set TWIN_MODEL__BASE back or train a new adapter.",
        )


def _speaking_as(model: Any, number: int) -> Any:
    """A context in which the model is the base (0) or its adapter of this number."""
    if number:
        model.set_adapter(f"a{number}")
        return nullcontext()
    return model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext()
