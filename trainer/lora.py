"""The model that is trained: a frozen base with LoRA layers, its loss, and the weights that the optimiser steps on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from logging import ERROR, getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.batches import Row, micro_batches
from twin.base_folder import base_name
from twin.errors import ModelError
from twin.lean_imports import lean_imports
from twin.precision import cpu_dtype
from twin.settings import Training

if TYPE_CHECKING:
    import torch


def load_model(base: Path, training: Training) -> Any:
    """The base model with a fresh LoRA on every linear layer but the head, in training mode; quantised if the settings say so."""
    with nullcontext() if training.quantization != "none" else lean_imports():
        tuned = add_lora(_load_base(base, training), training)
    tuned.peft_config["default"].base_model_name_or_path = base_name(base)
    return tuned


def _load_base(base: Path, training: Training) -> Any:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    quantization = _quantization(training) if training.quantization != "none" else None
    try:
        return AutoModelForCausalLM.from_pretrained(
            base, dtype=dtype_on(device), quantization_config=quantization, device_map={"": device}, attn_implementation="sdpa"
        )
    except (OSError, ValueError) as exc:
        raise ModelError(f"The base model in {base.name} cannot be loaded: {exc}.", mend="Check TWIN_MODEL__BASE.") from exc


def dtype_on(device: str) -> torch.dtype:
    """The dtype in which a model computes there."""
    import torch

    return torch.bfloat16 if device == "cuda" else getattr(torch, cpu_dtype(torch.cpu.get_capabilities()))


def _quantization(training: Training) -> Any:
    import torch
    from peft.import_utils import is_bnb_4bit_available, is_bnb_available
    from transformers import BitsAndBytesConfig
    from transformers.utils.import_utils import is_bitsandbytes_available

    for asked in (is_bnb_available, is_bnb_4bit_available, is_bitsandbytes_available):
        asked.cache_clear()  # they keep "no" if a model was loaded by lean imports in this process
    # int8 says at every product that it rounds bf16 to fp16 on its way to 8 bits
    getLogger("bitsandbytes.autograd._functions").setLevel(ERROR)
    if training.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)


def add_lora(model: Any, training: Training) -> Any:
    """Put a fresh LoRA on every linear layer of a transformers model but the head, in the form that trains fastest here."""
    import torch
    from peft import LoraConfig, get_peft_model

    from trainer import cpu_layers
    from trainer.lora_linear import LoraLinear

    config = LoraConfig(
        r=training.r, lora_alpha=training.alpha, lora_dropout=training.dropout, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    if training.quantization == "none" and not training.dropout:
        config._register_custom_module({torch.nn.Linear: LoraLinear})  # PEFT's documented door, underscore and all
    if model.device.type == "cpu":
        cpu_layers.install(model)
    # LoRA weights of the model's dtype keep every matrix product in it; Masters keeps the fp32 copies that the optimiser steps on.
    tuned = get_peft_model(model, config, autocast_adapter_dtype=False)
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(model.dtype)
    tuned.config.use_cache = False
    return tuned.train()


def compile_layers(model: Any, **options: Any) -> None:
    """torch.compile each repeated layer in place: they are alike, so one compilation serves all. Names stay as they are."""
    for layer in model.get_base_model().get_decoder().layers:
        layer.compile(dynamic=True, **options)


def batch_loss(model: Any, batch: Sequence[Row]) -> tuple[Any, int]:
    """Summed cross-entropy (nats) over the targets of a batch and their number.

    The head runs on those positions only: what goes into it is picked on the way, so that whatever a family does to its
    logits afterwards (Gemma's soft cap, Granite's and Cohere's scales) is done by the model's own code.
    """
    import torch

    longest = max(len(row.ids) for row in batch)
    pad = batch[0].ids[-1]  # any token: what stands right of a row's end is seen by nothing that has a loss
    device = next(model.parameters()).device
    ids = torch.tensor([[*row.ids, *[pad] * (longest - len(row.ids))] for row in batch], device=device)
    rows, places = torch.tensor([(i, p) for i, row in enumerate(batch) for p in row.targets], device=device).T

    def pick(_module: Any, inputs: tuple[Any, ...]) -> tuple[Any]:
        return (inputs[0][rows, places - 1][None],)

    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    picking = plain.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        logits = plain(input_ids=ids, use_cache=False).logits[0]
    finally:
        picking.remove()
    if logits.device.type == "cpu":
        from trainer.cpu_layers import cross_entropy

        return cross_entropy(logits, ids[rows, places]), len(rows)
    return torch.nn.functional.cross_entropy(logits.float(), ids[rows, places], reduction="sum"), len(rows)


def mean_loss(model: Any, rows: Sequence[Row], padded_tokens: int) -> float:
    """Nats a token over all targets of the rows."""
    import torch

    was_training = model.training
    _rest(model)
    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in micro_batches(rows, padded_tokens, seed=None):
            summed, n = batch_loss(model, batch)
            total += summed.item()
            count += n
    model.train(was_training)
    return total / count


def _rest(model: Any) -> None:
    """Evaluation mode, in which dropout rests. Not for bitsandbytes' layers: on a CPU their first pass in it packs the weights
    for good into a layout that has no gradient (0.50), and every later training step would learn nonsense."""
    model.eval()
    for module in model.modules():
        if type(module).__module__.startswith("bitsandbytes."):
            module.training = True


class Masters:
    """fp32 copies of the trained weights: bf16 has 8 bits of mantissa, too few to add small steps to."""

    def __init__(self, model: Any, learning_rate: float) -> None:
        import torch

        self.weights = [p for p in model.parameters() if p.requires_grad]
        self.copies = [p.detach().float().clone().requires_grad_() for p in self.weights]
        self.optimizer = torch.optim.AdamW(self.copies, lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.99), fused=True)

    def step(self, learning_rate: float) -> None:
        """One AdamW step with the gradients that the weights have gathered."""
        import torch

        for copy, weight in zip(self.copies, self.weights, strict=True):
            copy.grad = weight.grad.float() if weight.grad is not None else None
            weight.grad = None
        torch.nn.utils.clip_grad_norm_(self.copies, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self._publish()

    def load(self, kept: Sequence[Any]) -> None:
        """Put these values in place of the weights."""
        for copy, value in zip(self.copies, kept, strict=True):
            copy.data.copy_(value.data)
        self._publish()

    def _publish(self) -> None:
        for copy, weight in zip(self.copies, self.weights, strict=True):
            weight.data.copy_(copy.data)
