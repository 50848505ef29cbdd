"""Dataset folder -> adapter folder. Sees neither the database nor Telegram, so it runs on any GPU host.

    load -> estimate -> fit (validate, keep the best, checkpoint) -> seal

One LoRA recipe for any Hugging Face causal model with a chat template: all linear layers, the loss on the owner's turns
alone, bf16 weights with fp32 masters of what is trained, AdamW, warm-up and cosine, early stopping. The language-model head
runs on supervised positions only; that and right-padding instead of masks is where the speed comes from
(benchmarks/train_cpu.py). After a kill the same call goes on from the last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainer.base_model import tokenizer_hash
from trainer.batches import Row, micro_batches, steps, to_rows
from trainer.dataset import load_tokenizer, read_examples, read_manifest
from trainer.estimate import Estimate, estimate
from trainer.plots import draw_loss_curve
from twin.base_folder import base_name
from twin.errors import InputError, ModelError
from twin.progress import Progress, silent
from twin.settings import Training
from twin.turns import Renderer

WARMUP = 0.05  # of the whole run
FLOOR = 0.1  # the learning rate ends at this share of its peak
PATIENCE = 3  # validations without a new best before it stops
VALIDATIONS = 5  # a run
VALIDATION_TOKENS = 4_000  # of the validation slice, so that it costs little on a CPU
CHECKPOINT_SECONDS = 45.0


@dataclass
class State:
    """Where a run is. Saved whole in a checkpoint, so that a resumed run does what the killed one would have done."""

    step: int = 0
    epoch: int = 0
    in_epoch: int = 0  # steps done in this epoch
    tokens: int = 0
    seconds: float = 0.0  # of training, interruptions left out
    best: float = math.inf
    best_step: int = 0
    bad: int = 0  # validations since the best
    curve: list[tuple[int, float]] = field(default_factory=list)  # (step, training loss)
    validations: list[tuple[int, float]] = field(default_factory=list)


def adapter_name(dataset: Path, base: Path, training: Training) -> str:
    """A name that says what it was made from: the same inputs give the same name, so a killed run finds its checkpoint."""
    made_from = json.dumps([dataset.name, base_name(base), training.model_dump(mode="json")], sort_keys=True)
    return f"{dataset.name[:8]}-{hashlib.sha256(made_from.encode()).hexdigest()[:8]}"


def train(dataset: Path, base: Path, out: Path, training: Training, progress: Progress = silent, *, announce: Any = None) -> Path:
    """Train one adapter into the folder `out` (new, or there already and complete: then nothing is done).

    `announce(Estimate)` is called before the first step. Raises InputError or ModelError; on a kill the folder
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
    working = out.with_name(out.name + ".training")
    working.mkdir(parents=True, exist_ok=True)

    renderer = Renderer(load_tokenizer(base))
    rows = to_rows(read_examples(dataset, "train"), renderer)
    validation = _head(to_rows(read_examples(dataset, "validation"), renderer), VALIDATION_TOKENS)
    if not rows:
        raise InputError(f"{dataset} holds no training example.", mend="`twin dataset` says why rows were left out.")
    torch.manual_seed(training.seed)
    model = load_model(base, training)
    known = estimate(model, rows, training)
    if announce is not None:
        announce(known)
    state = _fit(model, rows, validation, training, known, working, progress)
    return _seal(model, working, out, dataset, base, manifest, training, state, known)


def load_model(base: Path, training: Training) -> Any:
    """The base model with a fresh LoRA on every linear layer but the head; quantised if the settings say so."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    quantization = {
        "none": None,
        "nf4": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16),
        "int8": BitsAndBytesConfig(load_in_8bit=True),
    }[training.quantization]
    try:
        model = AutoModelForCausalLM.from_pretrained(
            base, dtype=torch.bfloat16, quantization_config=quantization, device_map={"": device}, attn_implementation="sdpa"
        )
    except (OSError, ValueError) as exc:
        raise ModelError(f"The base model in {base.name} cannot be loaded: {exc}.", mend="Check TWIN_MODEL__BASE.") from exc
    config = LoraConfig(
        r=training.r, lora_alpha=training.alpha, lora_dropout=training.dropout, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    # bf16 LoRA weights keep every matrix product in bf16; _Masters keeps the fp32 copies that the optimiser steps on.
    tuned = get_peft_model(model, config, autocast_adapter_dtype=False)
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)
    tuned.peft_config["default"].base_model_name_or_path = base_name(base)
    tuned.config.use_cache = False
    return tuned


def batch_loss(model: Any, batch: Sequence[Row]) -> tuple[Any, int]:
    """Summed cross-entropy (nats) over the targets of a batch and their number. The head runs on those positions only."""
    import torch

    longest = max(len(row.ids) for row in batch)
    pad = batch[0].ids[-1]  # any token: what stands right of a row's end is seen by nothing that has a loss
    device = next(model.parameters()).device
    ids = torch.tensor([[*row.ids, *[pad] * (longest - len(row.ids))] for row in batch], device=device)
    where = torch.tensor([(i, p) for i, row in enumerate(batch) for p in row.targets], device=device)
    base = model.get_base_model()
    hidden = base.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state[where[:, 0], where[:, 1] - 1]
    logits = _logits(base, hidden)
    return torch.nn.functional.cross_entropy(logits, ids[where[:, 0], where[:, 1]], reduction="sum"), len(where)


def _logits(base: Any, hidden: Any) -> Any:
    """Head and the two things that some families do to logits (Gemma's soft cap, Granite's scale)."""
    import torch

    logits = base.get_output_embeddings()(hidden).float()
    if scaling := getattr(base.config, "logits_scaling", None):
        logits = logits / scaling
    if cap := getattr(base.config, "final_logit_softcapping", None):
        logits = torch.tanh(logits / cap) * cap
    return logits


class _Masters:
    """fp32 copies of the trained weights: bf16 has 8 bits of mantissa, too few to add small steps to."""

    def __init__(self, model: Any, training: Training) -> None:
        import torch

        self.weights = [p for p in model.parameters() if p.requires_grad]
        self.copies = [p.detach().float().clone().requires_grad_() for p in self.weights]
        self.optimizer = torch.optim.AdamW(self.copies, lr=training.learning_rate, weight_decay=0.0, betas=(0.9, 0.99), fused=True)

    def step(self, learning_rate: float) -> None:
        import torch

        for copy, weight in zip(self.copies, self.weights, strict=True):
            copy.grad = weight.grad.float() if weight.grad is not None else None
            weight.grad = None
        torch.nn.utils.clip_grad_norm_(self.copies, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.publish()

    def publish(self) -> None:
        for copy, weight in zip(self.copies, self.weights, strict=True):
            weight.data.copy_(copy.data)


def _fit(
    model: Any, rows: list[Row], validation: list[Row], training: Training, known: Estimate, working: Path, progress: Progress
) -> State:
    import torch

    masters = _Masters(model, training)
    state = _resume(masters, working) or State()
    last_checkpoint = time.monotonic()
    validated_at = state.seconds
    total_tokens = known.tokens * training.epochs
    budget = training.minutes * 60 if training.minutes else None

    def share_done() -> float:
        by_tokens = state.tokens / total_tokens
        return min(1.0, max(by_tokens, state.seconds / budget) if budget else by_tokens)

    model.train()
    stop = False
    while not stop and share_done() < 1.0:
        epoch_steps = steps(
            rows, batch_tokens=training.batch_tokens, padded_tokens=known.micro_tokens, seed=training.seed, epoch=state.epoch
        )
        for number, group in enumerate(epoch_steps):
            if number < state.in_epoch:
                continue
            started = time.monotonic()
            supervised = sum(len(row.targets) for batch in group for row in batch)
            loss = 0.0
            for batch in group:
                summed, _ = batch_loss(model, batch)
                (summed / supervised).backward()
                loss += summed.item() / supervised
            masters.step(_learning_rate(training.learning_rate, share_done()))
            state.step += 1
            state.in_epoch += 1
            state.tokens += sum(len(row.ids) for batch in group for row in batch)
            state.seconds += time.monotonic() - started
            state.curve.append((state.step, loss))
            if not math.isfinite(loss):
                raise ModelError("The training loss is no longer a number.", mend="Lower TWIN_TRAINING__LEARNING_RATE.")
            done = share_done()
            left = _seconds_left(state, done)
            progress(
                done, 1.0, f"loss {_smooth(state.curve):.2f} · {state.tokens / max(state.seconds, 1e-9):.0f} tokens/s · {left:.0f} s left"
            )
            due = validation and (done >= 1.0 or done - _share_of(validated_at, state, done) >= 1 / VALIDATIONS)
            if due:
                validated_at = state.seconds
                started = time.monotonic()
                _validate(model, masters, validation, state, known.micro_tokens, working)
                state.seconds += (time.monotonic() - started) if budget else 0.0
                if state.bad >= PATIENCE:
                    stop = True
            if due or time.monotonic() - last_checkpoint > CHECKPOINT_SECONDS:
                _checkpoint(masters, state, working)
                last_checkpoint = time.monotonic()
            if stop or share_done() >= 1.0:
                stop = True
                break
        else:
            state.epoch += 1
            state.in_epoch = 0
    if validation:
        if state.validations[-1:] and state.validations[-1][0] != state.step:
            _validate(model, masters, validation, state, known.micro_tokens, working)
        best = torch.load(working / "best.pt", weights_only=True)
        for copy, kept in zip(masters.copies, best, strict=True):
            copy.data.copy_(kept)
        masters.publish()
    return state


def _validate(model: Any, masters: _Masters, validation: list[Row], state: State, padded_tokens: int, working: Path) -> None:
    loss = mean_loss(model, validation, padded_tokens)
    state.validations.append((state.step, loss))
    if loss < state.best:
        state.best, state.best_step, state.bad = loss, state.step, 0
        _save(masters.copies, working / "best.pt")
    else:
        state.bad += 1


def mean_loss(model: Any, rows: Sequence[Row], padded_tokens: int) -> float:
    """Nats a token over all targets of the rows."""
    import torch

    model.eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in micro_batches(rows, padded_tokens, seed=None):
            summed, n = batch_loss(model, batch)
            total += summed.item()
            count += n
    model.train()
    return total / count


def _learning_rate(peak: float, done: float) -> float:
    if done < WARMUP:
        return peak * max(0.02, done / WARMUP)
    return peak * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * (done - WARMUP) / (1 - WARMUP))))


def _share_of(validated_at: float, state: State, done: float) -> float:
    return done * validated_at / state.seconds if state.seconds else 0.0


def _seconds_left(state: State, done: float) -> float:
    return state.seconds * (1 - done) / done if done > 0 else math.inf


def _smooth(curve: list[tuple[int, float]]) -> float:
    last = [loss for _, loss in curve[-10:]]
    return sum(last) / len(last)


def _head(rows: list[Row], tokens: int) -> list[Row]:
    """Rows spread evenly over the slice until `tokens` are reached, so that every part of it is heard."""
    if not rows:
        return []
    wanted = max(1, int(len(rows) * min(1.0, tokens / sum(len(row.ids) for row in rows))))
    return [rows[i * len(rows) // wanted] for i in range(wanted)]


# --- checkpoints ------------------------------------------------------------------------------------------------------


def _save(value: Any, path: Path) -> None:
    import torch

    unfinished = path.with_suffix(".unfinished")
    torch.save(value, unfinished)
    unfinished.replace(path)


def _checkpoint(masters: _Masters, state: State, working: Path) -> None:
    _save({"state": asdict(state), "weights": masters.copies, "optimizer": masters.optimizer.state_dict()}, working / "checkpoint.pt")


def _resume(masters: _Masters, working: Path) -> State | None:
    import torch

    path = working / "checkpoint.pt"
    if not path.exists():
        return None
    saved = torch.load(path, weights_only=True)
    for copy, kept in zip(masters.copies, saved["weights"], strict=True):
        copy.data.copy_(kept.data)
    masters.optimizer.load_state_dict(saved["optimizer"])
    masters.publish()
    state = State(**saved["state"])
    state.curve = [(int(step), loss) for step, loss in state.curve]
    state.validations = [(int(step), loss) for step, loss in state.validations]
    return state


# --- the sealed folder ------------------------------------------------------------------------------------------------


def _seal(
    model: Any,
    working: Path,
    out: Path,
    dataset: Path,
    base: Path,
    dataset_manifest: dict[str, Any],
    training: Training,
    state: State,
    known: Estimate,
) -> Path:
    building = out.with_name(out.name + ".building")
    shutil.rmtree(building, ignore_errors=True)
    # The head and embeddings are not trained; left to decide by itself, PEFT asks the hub about the base model.
    model.save_pretrained(building, save_embedding_layers=False)
    (building / "README.md").unlink(missing_ok=True)  # PEFT's model card template, full of gaps
    draw_loss_curve(building / "loss.png", state.curve, state.validations)
    manifest = {
        "name": out.name,
        "base": {"name": base_name(base), "tokenizer": tokenizer_hash(base)},
        "dataset": dataset.name,
        "dialog_ids": dataset_manifest["dialog_ids"],
        "recipe": training.model_dump(mode="json"),
        "estimate": asdict(known),
        "metrics": {
            "train_loss": _smooth(state.curve) if state.curve else None,
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
