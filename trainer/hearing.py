"""Asking a base model and its adapters the same questions, and keeping what each made of them.

    <cache>/<key>.json   readable by the owner alone: the answers are private

A key covers everything that the answer depends on: the model's weights, the dataset, the questions, the sampling. The loss on
general text depends on no dataset and is kept apart, so the active adapter is not asked it again on the next night.
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

from trainer.instructions import Talk
from trainer.scoring import CONTEXTS, Item, answers, groups, own_nats, sampled, score_group
from twin.base_folder import base_name, tokenizer_hash
from twin.errors import InputError, ModelError
from twin.generator import Sampling
from twin.lean_imports import lean_imports
from twin.progress import Progress
from twin.reading import read_object
from twin.renderer import Renderer
from twin.sealing import write_private

KEPT_AS = 4  # changes when what was kept before must not be used any more
KEPT_FILES = 60


@dataclass(frozen=True)
class Exam:
    """What every model is asked."""

    dataset: str  # its hash
    items: list[Item]
    anchors: list[Item]
    spoken: list[Item]  # of `items`, those that get an answer
    generic: list[Talk]
    sampling: Sampling


@dataclass(frozen=True)
class Heard:
    """What one model made of it. `items` are (tokens, nats, context chosen), `anchors` and `generic` (tokens, nats)."""

    items: list[tuple[int, float, bool]]
    anchors: list[tuple[int, float]]
    generic: list[tuple[int, float]]
    said: list[str]
    sureness: list[float]  # of each that was said, its mean log-probability
    greedy: list[str]  # empty for the base model, which repeats nothing that it never saw


def hear_all(
    base: Path, adapters: Sequence[Path], renderer: Renderer, exam: Exam, cache: Path | None, progress: Progress
) -> dict[str, Heard]:
    """What "base" and every adapter (by its folder's name) makes of the exam. The models are loaded only if one has to be asked.

    Raises ModelError if an adapter does not belong to the base, or if its weights are broken.
    """
    import torch

    for folder in adapters:
        check_adapter(folder, base)
    folders: dict[str, Path | None] = {"base": None, **{folder.name: folder for folder in adapters}}
    work = {
        "exam": math.ceil(len(exam.items) / CONTEXTS) + len(exam.anchors) / 20 + len(exam.spoken) / 4,
        "generic": len(exam.generic) / 20,
    }
    about = {"exam": _about_exam(exam), "generic": [[turn._asdict() for turn in talk] for talk in exam.generic]}
    paths = {
        (name, part): cache / f"{_key([KEPT_AS, part, name, *_weights(base, folder), about[part]])}.json" if cache else None
        for name, folder in folders.items()
        for part in work
    }
    rows = {asked: row for asked, path in paths.items() if path and (row := _recall(path))}
    total, done = sum(work[part] for _, part in paths.keys() - rows.keys()), 0.0

    def tell(step: float, note: str) -> None:
        nonlocal done
        done = min(done + step, total)  # a sum of shares ends a hair above
        progress(done, total, note)

    model = _load(base, adapters) if total else None
    for number, name in enumerate(folders):
        for part, ask in (("exam", _sit), ("generic", _read)):
            if (name, part) in rows:
                continue
            with torch.inference_mode(), _speaking_as(model, number):
                rows[name, part] = ask(model, renderer, exam, name, tell)
            if path := paths[name, part]:
                write_private(path, json.dumps(rows[name, part], ensure_ascii=False).encode())
    if cache:
        _tidy(cache)
    progress(total, total)
    return {name: _heard(rows[name, "exam"] | rows[name, "generic"]) for name in folders}


def _sit(model: Any, renderer: Renderer, exam: Exam, name: str, tell: Any) -> dict[str, Any]:
    items: list[tuple[int, float, bool]] = []
    for group, counted in groups(exam.items):
        items += [(s.tokens, _number(s.nats, name), s.chosen) for s in score_group(model, renderer, group)[:counted]]
        tell(1, f"{name}: reading {len(items)} of {len(exam.items)}")
    anchors = [(t, _number(n, name)) for t, n in own_nats(model, renderer, [(*item.context, item.reply) for item in exam.anchors])]
    answering = f"{name}: answering {len(exam.spoken)} messages"
    tell(len(anchors) / 20, answering)
    said = sampled(model, renderer, exam.spoken, exam.sampling)
    tell(len(said) / 8, answering)
    likeliest = Sampling(temperature=0, max_new_tokens=exam.sampling.max_new_tokens)
    greedy = answers(model, renderer, exam.spoken, likeliest) if name != "base" else []
    tell(len(said) / 8, name)
    texts, sureness = [answer.text for answer in said], [_number(answer.mean_logprob, name) for answer in said]
    return {"items": items, "anchors": anchors, "said": texts, "sureness": sureness, "greedy": greedy}


def _read(model: Any, renderer: Renderer, exam: Exam, name: str, tell: Any) -> dict[str, Any]:
    generic = [(t, _number(n, name)) for t, n in own_nats(model, renderer, exam.generic)]
    tell(len(generic) / 20, name)
    return {"generic": generic}


def _number(nats: float, name: str) -> float:
    if not math.isfinite(nats):
        raise ModelError(
            f"{name} gives no numbers: its weights are broken.", mend="Train it anew from the base model: `twin train --full`."
        )
    return round(nats, 4)


# --- what is kept -----------------------------------------------------------------------------------------------------


def _about_exam(exam: Exam) -> list[Any]:
    return [exam.dataset, len(exam.items), len(exam.anchors), len(exam.spoken), asdict(exam.sampling)]


def _weights(base: Path, adapter: Path | None) -> list[str]:
    """What tells a model's weights from others'. An adapter's folder is never changed once it is sealed."""
    files = [base / "config.json", base / "manifest.json", *([adapter / "manifest.json"] if adapter else [])]
    return [base_name(base), tokenizer_hash(base), *(hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.exists())]


def _key(about: Any) -> str:
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:24]


def _recall(path: Path) -> dict[str, Any] | None:
    """What was kept; None if there is nothing, or it is damaged: then it is made again."""
    try:
        return read_object(path, mend="")
    except InputError:
        return None


def _heard(row: dict[str, Any]) -> Heard:
    items, pairs = [(t, n, c) for t, n, c in row["items"]], {part: [(t, n) for t, n in row[part]] for part in ("anchors", "generic")}
    return Heard(items, pairs["anchors"], pairs["generic"], row["said"], row["sureness"], row["greedy"])


def _tidy(cache: Path) -> None:
    """Remove what was written longest ago beyond KEPT_FILES."""
    files = sorted(cache.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[KEPT_FILES:]:
        path.unlink(missing_ok=True)


# --- the models -------------------------------------------------------------------------------------------------------


def _load(base: Path, adapters: Sequence[Path]) -> Any:
    """The base model with all adapters in it, as "a1", "a2", ... (PEFT's names may hold no dot)."""
    with lean_imports():
        return _load_leanly(base, adapters)


def _load_leanly(base: Path, adapters: Sequence[Path]) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from trainer.lora import dtype_on

    logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype_on(device), attn_implementation="sdpa", device_map={"": device})
    for number, folder in enumerate(adapters, 1):
        if number == 1:
            model = PeftModel.from_pretrained(model, folder, adapter_name="a1", autocast_adapter_dtype=False)
        else:
            model.load_adapter(folder, adapter_name=f"a{number}", autocast_adapter_dtype=False)
    return model.eval()


def check_adapter(adapter: Path, base: Path) -> None:
    """Raises ModelError if the folder is no sealed adapter of this base."""
    try:
        trained_on = json.loads((adapter / "manifest.json").read_text(encoding="utf-8"))["base"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as exc:
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
