"""What a run will take, before it starts: memory, arithmetic, time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainer.batches import Row
from trainer.lora import batch_loss
from twin.settings import Training

MICRO_TOKENS = {"cpu": 2_048, "cuda": 16_384}
PROBE_TOKENS = {"cpu": 512, "cuda": 16_384}  # a CPU is as fast with so few, and they are seconds of a person's time


@dataclass(frozen=True)
class Estimate:
    """`flops` counts 4 a parameter a token (forward, and backward to the activations; frozen weights get no gradient);
    `seconds` is what a measured first batch promises, at most the budget."""

    device: str
    parameters: int
    trainable: int
    examples: int
    tokens: int  # of one epoch
    supervised: int
    flops: float
    memory_gib: float
    seconds: float
    micro_tokens: int


def _probe(rows: Sequence[Row], most: int) -> list[Row]:
    """Rows, the shortest first, of so many tokens together at most; one in any case."""
    chosen: list[Row] = []
    for row in sorted(rows, key=lambda row: len(row.ids)):
        if chosen and sum(len(one.ids) for one in chosen) + len(row.ids) > most:
            break
        chosen.append(row)
    return chosen


def estimate(model: Any, rows: Sequence[Row], training: Training) -> Estimate:
    """Sizes from the model and the rows, speed from one forward and backward pass over real rows."""
    import torch

    trainable, parameters = model.get_nb_trainable_parameters()  # counts packed 4-bit weights as what they stand for
    tokens = sum(len(row.ids) for row in rows)
    device = next(model.parameters()).device.type
    config = model.config
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    optimizer = trainable * 16  # fp32: copy, gradient, two moments
    # Kept for the backward pass: about 34 values of the hidden size a token a layer, and the logits in fp32 twice.
    activation = config.num_hidden_layers * config.hidden_size * 34 * model.dtype.itemsize + 0.4 * config.vocab_size * 8
    longest = max(len(row.ids) for row in rows)
    micro_tokens = MICRO_TOKENS[device]
    if device == "cuda":
        free, _ = torch.cuda.mem_get_info()
        micro_tokens = min(micro_tokens, int((0.8 * free - optimizer) / activation))
    micro_tokens = max(min(micro_tokens, training.batch_tokens), longest)
    probe = _probe(rows, min(PROBE_TOKENS[device], micro_tokens))
    speed = 0.0
    for tried in (probe[:1], probe):  # the first pass pays for buffers and kernels
        started = time.monotonic()
        summed, n = batch_loss(model, tried)
        (summed / n).backward()
        if device == "cuda":
            torch.cuda.synchronize()
        speed = sum(len(row.ids) for row in tried) / (time.monotonic() - started)
    model.zero_grad(set_to_none=True)
    whole = tokens * training.epochs / speed
    return Estimate(
        device=device,
        parameters=parameters,
        trainable=trainable,
        examples=len(rows),
        tokens=tokens,
        supervised=sum(len(row.targets) for row in rows),
        flops=4.0 * parameters * tokens * training.epochs,
        memory_gib=(weights + optimizer + micro_tokens * activation) / 2**30,
        seconds=min(whole, training.minutes * 60) if training.minutes else whole,
        micro_tokens=micro_tokens,
    )
