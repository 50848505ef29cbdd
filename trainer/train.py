"""Dataset folder -> adapter folder. Sees neither the database nor Telegram, so it runs on any GPU host.

    load -> mix -> estimate -> fit (validate, keep the best, checkpoint) -> seal

A full run starts from the base model and learns everything; an incremental one goes on from the parent's weights with what is
new, a replay of the old and a lower learning rate (trainer.mixture).
One LoRA recipe for any Hugging Face causal model with a chat template: all linear layers, the loss on the owner's turns
alone, bf16 weights (fp32 on CPUs without bf16 products) with fp32 masters of what is trained, AdamW, warm-up and cosine, early
stopping. The language-model head runs on supervised positions only; that and right-padding instead of masks is where the speed
comes from (benchmarks/train_cpu.py). After a kill the same call goes on from the last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainer.batches import Row, steps, to_rows
from trainer.dataset_reader import load_tokenizer, read_examples, read_manifest
from trainer.estimate import Estimate, estimate
from trainer.examples import Example
from trainer.instructions import digest, training_rows
from trainer.lineage import learned_until, read_parent
from trainer.lora import Masters, batch_loss, compile_layers, load_model, mean_loss
from trainer.mixture import Mixture, mix
from trainer.plots import draw_loss_curve
from trainer.probes import probe_scores
from twin.base_folder import base_name, tokenizer_hash
from twin.errors import InputError, ModelError
from twin.progress import Progress, silent
from twin.renderer import Renderer, was_other
from twin.settings import Training

WARMUP = 0.05  # of the whole run
FLOOR = 0.1  # the learning rate ends at this share of its peak
PATIENCE = 3  # validations without a new best before it stops
VALIDATIONS = 5  # a run
VALIDATION_TOKENS = 4_000  # of the validation slice, so that it costs little on a CPU
CHECKPOINT_SECONDS = 45.0
COMPILE_SECONDS = 600.0  # a run on a card that is shorter does not earn back the minute or two that compiling takes


@dataclass
class State:
    """Where a run is. Saved whole in a checkpoint, so that a resumed run does what the killed one would have done."""

    micro_tokens: int
    step: int = 0
    epoch: int = 0
    in_epoch: int = 0  # steps done in this epoch
    tokens: int = 0
    seconds: float = 0.0  # of training, interruptions left out
    validating_seconds: float = 0.0
    best: float = math.inf
    best_step: int = 0
    bad: int = 0  # validations since the best
    validated: float = 0.0  # how much of the run was done at the last validation
    curve: list[tuple[int, float]] = field(default_factory=list)  # (step, training loss)
    validations: list[tuple[int, float]] = field(default_factory=list)


def adapter_name(dataset: Path, base: Path, training: Training, parent: Path | None = None) -> str:
    """A name that says what it was made from: the same inputs give the same name, so a killed run finds its checkpoint."""
    general = digest(training.generic_path) if training.generic else None
    inputs = [dataset.name, base_name(base), training.model_dump(mode="json", exclude={"generic_path"}), general, parent and parent.name]
    made_from = json.dumps(inputs, sort_keys=True)
    return f"{dataset.name[:8]}-{hashlib.sha256(made_from.encode()).hexdigest()[:8]}"


def train(
    dataset: Path,
    base: Path,
    out: Path,
    training: Training,
    progress: Progress = silent,
    *,
    parent: Path | None = None,
    announce: Callable[[Estimate], None] | None = None,
) -> Path:
    """Train one adapter into the folder `out` (new, or there already and complete: then nothing is done).

    `parent` is the sealed adapter to go on from, read only; None: from the base model. `announce(Estimate)` is called before
    the first step. Raises InputError (NothingNew if the parent knows it all) or ModelError; on a kill the folder
    `<out>.training` keeps the checkpoint.
    """
    import torch

    if (out / "manifest.json").exists():
        return out
    manifest = read_manifest(dataset)
    if manifest["tokenizer"] != tokenizer_hash(base):
        raise InputError(
            f"{dataset} was built with another tokenizer than that of {base.name}.", mend="Build it again with `twin dataset`."
        )
    renderer = Renderer(load_tokenizer(base))
    if was_other(manifest.get("rendering"), renderer.rendering):
        raise InputError(f"{dataset} was counted with another rendering of chats than today's.", mend="Build it again with `twin dataset`.")
    origin = read_parent(parent, base, training) if parent else None
    if origin:
        origin.require_rendering(renderer.rendering)
    mixture = mix(
        read_examples(dataset, "train"),
        training_rows(training.generic_path) if training.generic else [],
        renderer,
        training,
        origin.learned_until if origin else None,
    )
    if not mixture.rows:
        raise InputError(f"{dataset} holds no training example.", mend="`twin dataset` says why rows were left out.")
    validation = _head(list(read_examples(dataset, "validation")), renderer, VALIDATION_TOKENS)
    torch.manual_seed(training.seed)
    try:
        model = load_model(base, training)
        if origin:
            origin.put_into(model)
        known = estimate(model, mixture.rows, training)
        if announce is not None:
            announce(known)
        if known.device == "cuda" and training.quantization == "none" and known.seconds > COMPILE_SECONDS:
            torch._dynamo.config.suppress_errors = True  # a host without a C compiler trains plain
            compile_layers(model)
        working = _working_folder(out, adapter_name(dataset, base, training, parent))
        peak = training.learning_rate * (training.incremental_rate if origin else 1.0)
        state = _fit(model, mixture.rows, validation, training, peak, known, working, _naming(mixture, progress))
    except torch.OutOfMemoryError as exc:
        raise ModelError(
            "The GPU has too little free memory for this run.",
            mend="Set TWIN_TRAINING__QUANTIZATION=nf4, or lower TWIN_DATASET__MAX_TOKENS.",
        ) from exc
    made_from = {
        "base": {"name": base_name(base), "tokenizer": tokenizer_hash(base)},
        "rendering": renderer.rendering,
        "dataset": dataset.name,
        "kind": "incremental" if origin else "full",
        "parent": origin.name if origin else None,
        "dialog_ids": sorted({*manifest["dialog_ids"], *(origin.dialog_ids if origin else ())}),
        "learned_until": learned_until(manifest["train_until"], origin),
        "mixture": mixture.counts(),
        "quantization": training.quantization,  # of the base, so that who compares the probes expects its rounding
        "recipe": training.model_dump(mode="json"),
        "estimate": asdict(known),
        "probes": probe_scores(model, renderer),
    }
    return _seal(model, working, out, made_from, state)


def _fit(
    model: Any,
    rows: list[Row],
    validation: list[Row],
    training: Training,
    peak: float,
    known: Estimate,
    working: Path,
    progress: Progress,
) -> State:
    masters = Masters(model, peak)
    state = _resume(masters, working) or State(known.micro_tokens)
    checkpoint_at = time.monotonic()
    total_tokens = known.tokens * training.epochs
    budget = training.minutes * 60 if training.minutes else math.inf

    def share_done() -> float:
        return min(1.0, max(state.tokens / total_tokens, (state.seconds + state.validating_seconds) / budget))

    model.train()
    while share_done() < 1.0 and state.bad < PATIENCE:
        for number, group in enumerate(
            steps(rows, batch_tokens=training.batch_tokens, padded_tokens=state.micro_tokens, seed=training.seed, epoch=state.epoch)
        ):
            if number < state.in_epoch:
                continue
            started = time.monotonic()
            loss = train_step(model, masters, group, _learning_rate(peak, share_done()))
            state.step += 1
            state.in_epoch += 1
            state.tokens += sum(len(row.ids) for batch in group for row in batch)
            state.seconds += time.monotonic() - started
            state.curve.append((state.step, loss))
            done = share_done()
            progress(done, 1.0, _note(state, done))
            due = bool(validation) and (done >= 1.0 or done - state.validated >= 1 / VALIDATIONS)
            if due:
                started = time.monotonic()
                _validate(model, masters, validation, state, working)
                state.validated = done
                state.validating_seconds += time.monotonic() - started
            if due or time.monotonic() - checkpoint_at > CHECKPOINT_SECONDS:
                _checkpoint(masters, state, working)
                checkpoint_at = time.monotonic()
            if share_done() >= 1.0 or state.bad >= PATIENCE:
                break
        else:
            state.epoch += 1
            state.in_epoch = 0
    if validation:  # the last step is always validated
        masters.load(_load(working / "best.pt"))
    return state


def train_step(model: Any, masters: Masters, group: list[list[Row]], learning_rate: float) -> float:
    """One optimiser step over the micro-batches of `group`; returns their mean loss before it."""
    supervised = sum(len(row.targets) for batch in group for row in batch)
    loss: Any = 0.0
    for batch in group:
        summed, _ = batch_loss(model, batch)
        (summed / supervised).backward()
        loss = loss + summed.detach() / supervised
    mean = float(loss)
    if not math.isfinite(mean):
        raise ModelError("The training loss is no longer a number.", mend="Lower TWIN_TRAINING__LEARNING_RATE.")
    masters.step(learning_rate)
    return mean


def _validate(model: Any, masters: Masters, validation: list[Row], state: State, working: Path) -> None:
    loss = mean_loss(model, validation, state.micro_tokens)
    if not math.isfinite(loss):
        raise ModelError("The validation loss is no longer a number.", mend="Lower TWIN_TRAINING__LEARNING_RATE.")
    state.validations.append((state.step, loss))
    if loss < state.best:
        state.best, state.best_step, state.bad = loss, state.step, 0
        _save(masters.copies, working / "best.pt")
    else:
        state.bad += 1


def _learning_rate(peak: float, done: float) -> float:
    if done < WARMUP:
        return peak * max(0.02, done / WARMUP)
    return peak * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * (done - WARMUP) / (1 - WARMUP))))


def _note(state: State, done: float) -> str:
    left = (state.seconds + state.validating_seconds) * (1 - done) / done
    return f"loss {_smooth(state.curve):.2f} · {state.tokens / max(state.seconds, 1e-9):.0f} tokens/s · {left:.0f} s left"


def _naming(mixture: Mixture, progress: Progress) -> Progress:
    """`progress` with what is learned from in its note."""

    def tell(done: float, total: float | None, note: str = "") -> None:
        progress(done, total, f"{note} · {mixture}")

    return tell


def _smooth(curve: list[tuple[int, float]]) -> float:
    last = [loss for _, loss in curve[-10:]]
    return sum(last) / len(last)


def _head(examples: list[Example], renderer: Renderer, tokens: int) -> list[Row]:
    """Rows spread evenly over the slice, about `tokens` of them together, so that every part of it is heard."""
    probe = to_rows(examples[:: max(1, len(examples) // 32)], renderer)
    if not probe:
        return []
    wanted = min(len(examples), max(1, round(tokens * len(probe) / sum(len(row.ids) for row in probe))))
    return to_rows([examples[i * len(examples) // wanted] for i in range(wanted)], renderer)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def _working_folder(out: Path, made_from: str) -> Path:
    """Where the checkpoint of this very run lies. What another dataset or recipe left under the same name is removed."""
    working = out.with_name(out.name + ".training")
    claim = working / "made_from"
    if not claim.exists() or claim.read_text(encoding="utf-8", errors="replace") != made_from:
        shutil.rmtree(working, ignore_errors=True)
        working.mkdir(parents=True, mode=0o700)
        claim.write_text(made_from, encoding="utf-8")
    return working


def _save(value: Any, path: Path) -> None:
    """Replace the file in one step, so that a kill leaves the old one or the new one."""
    import torch

    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _load(path: Path) -> Any:
    import torch

    return torch.load(path, weights_only=True)


def _checkpoint(masters: Masters, state: State, working: Path) -> None:
    import torch

    draws = {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}  # for dropout
    saved = {"state": asdict(state), "weights": masters.copies, "optimizer": masters.optimizer.state_dict(), "draws": draws}
    _save(saved, working / "checkpoint.pt")


def _resume(masters: Masters, working: Path) -> State | None:
    import torch

    path = working / "checkpoint.pt"
    if not path.exists():
        return None
    saved = _load(path)
    masters.load(saved["weights"])
    masters.optimizer.load_state_dict(saved["optimizer"])
    torch.set_rng_state(saved["draws"]["cpu"])
    if saved["draws"]["cuda"]:
        torch.cuda.set_rng_state_all(saved["draws"]["cuda"])
    return State(**saved["state"])


# --- the sealed folder ------------------------------------------------------------------------------------------------


def _seal(model: Any, working: Path, out: Path, made_from: dict[str, Any], state: State) -> Path:
    building = out.with_name(out.name + ".building")
    shutil.rmtree(building, ignore_errors=True)
    model.save_pretrained(building, save_embedding_layers=False)  # "auto" would ask the hub about the base model
    (building / "README.md").unlink(missing_ok=True)  # PEFT's model card template, full of gaps
    draw_loss_curve(building / "loss.png", state.curve, state.validations)
    manifest = {
        "name": out.name,
        **made_from,
        "metrics": {
            "train_loss": _smooth(state.curve),
            "validation_loss": state.best if state.validations else None,
            "steps": state.step,
            "best_step": state.best_step if state.validations else state.step,
            "tokens": state.tokens,
            "seconds": round(state.seconds, 1),
            "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9), 1),
        },
        "curve": {"train": state.curve, "validation": state.validations},
        "files": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(building.iterdir())},
    }
    (building / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)  # without a manifest it is what a crash left
    os.rename(building, out)
    shutil.rmtree(working, ignore_errors=True)
    return out


if __name__ == "__main__":
    from trainer.train_main import main

    raise SystemExit(main())
