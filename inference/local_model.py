"""A base model in memory with at most one adapter acting on it. Everything here blocks: call it in a thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from inference.adapters import check_adapter
from inference.prompting import load_tokenizer, stop_token_ids
from inference.proof import require_effect
from twin.errors import EngineError, ModelError
from twin.generator import ActiveAdapter, Sampling
from twin.lean_imports import lean_imports
from twin.precision import cpu_dtype
from twin.probes import probe_prompts
from twin.renderer import Renderer

Dtype = Literal["bfloat16", "float32"]


class LocalModel:
    """Loads in the constructor, in the dtype that is fastest here if none is given.

    `model` is transformers' own; PEFT's layers are put into it in place.
    """

    def __init__(self, base: Path, dtype: Dtype | None = None) -> None:
        self.base = base
        self.tokenizer = load_tokenizer(base)
        self.renderer = Renderer(self.tokenizer)
        self.stop_token_ids = stop_token_ids(base, self.renderer)
        with lean_imports():
            self.model = _load(base, dtype)
        self._peft: Any = None
        self._name: str | None = None  # PEFT's name of the acting adapter; module names may hold no dot, so it is a number
        self._count = 0

    def generate(self, ids: Sequence[int], sampling: Sampling, stop: Callable[[], bool]) -> tuple[list[int], list[float]]:
        """The sampled tokens, an end token included, and their log-probabilities at temperature 1."""
        import torch
        from transformers import GenerationConfig

        device = self.model.device
        prompt = torch.tensor([list(ids)], device=device)
        drawn = {"temperature": float(sampling.temperature), "top_p": float(sampling.top_p), "top_k": 0} if sampling.temperature > 0 else {}
        config = GenerationConfig(
            do_sample=sampling.temperature > 0,
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=self.stop_token_ids,
            pad_token_id=self.stop_token_ids[0],
            return_dict_in_generate=True,
            output_logits=True,
            **drawn,
        )

        def stopped(input_ids: Any, scores: Any, **_: Any) -> Any:
            return torch.full((input_ids.shape[0],), stop(), device=input_ids.device, dtype=torch.bool)

        try:
            # The generator is global, so its state is put back: a seeded reply must not make other draws repeat.
            with torch.inference_mode(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                if sampling.seed is not None:
                    torch.manual_seed(sampling.seed)
                output = self.model.generate(
                    prompt, attention_mask=torch.ones_like(prompt), generation_config=config, stopping_criteria=[stopped]
                )
                tokens = output.sequences[0, prompt.shape[1] :].tolist()
                logprobs = [logits[0].float().log_softmax(-1)[token].item() for token, logits in zip(tokens, output.logits, strict=True)]
        except torch.OutOfMemoryError as exc:
            raise EngineError("The GPU has too little free memory to answer.", kind="refused", mend="End what else uses it.") from exc
        return tokens, logprobs

    def use(self, adapter: ActiveAdapter | None) -> None:
        """Let this adapter act (None: the base model alone). On ModelError the former one still acts."""
        if adapter is None:
            self._remove_all()
            return
        former = self._name
        self._count += 1
        name = f"a{self._count}"
        try:
            with lean_imports():
                self._add(adapter, name)
            self._peft.set_adapter(name)
            self.model.eval()  # new layers come in training mode
            with self._peft.disable_adapter():
                plain = self.probe()
            require_effect(adapter.name, plain, self.probe(), floor=1e-6)  # the same kernels: without effect the difference is 0
        except ModelError:
            self._drop(name, former)
            raise
        self._name = name
        if former:
            self._peft.delete_adapter(former)

    def probe(self) -> list[float]:
        """Log-probabilities of the tokens of the probe prompts."""
        import torch

        found: list[float] = []
        with torch.inference_mode():
            for ids in probe_prompts(self.renderer):
                row = torch.tensor([ids], device=self.model.device)
                logprobs = self.model(input_ids=row).logits[0, :-1].float().log_softmax(-1)
                found += logprobs.gather(-1, row[0, 1:, None])[:, 0].tolist()
        return found

    def _add(self, adapter: ActiveAdapter, name: str) -> None:
        from peft import LoraConfig, PeftModel
        from peft.utils import load_peft_weights, set_peft_model_state_dict
        from safetensors import SafetensorError

        if check_adapter(adapter, self.base).get("peft_type") != "LORA":
            raise ModelError(f"Adapter {adapter.name} is no LoRA adapter.", mend="Train one with `twin train`.")
        try:
            config = LoraConfig.from_pretrained(str(adapter.path))
            config.inference_mode = True
            weights = load_peft_weights(str(adapter.path), device=str(self.model.device))
            if self._peft is None:
                self._peft = PeftModel(self.model, config, adapter_name=name, autocast_adapter_dtype=False)
            else:
                self._peft.add_adapter(name, config, autocast_adapter_dtype=False)
            unknown = set_peft_model_state_dict(self._peft, weights, adapter_name=name).unexpected_keys
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as exc:
            # TypeError: a config key of another PEFT version; RuntimeError: shapes of another model
            raise ModelError(
                f"Adapter {adapter.name} does not fit {self.base.name} ({type(exc).__name__}).", mend="The former adapter stays."
            ) from exc
        if unknown:
            raise ModelError(
                f"Adapter {adapter.name} has weights for layers that {self.base.name} does not have, such as {unknown[0]}.",
                mend="The former adapter stays.",
            )

    def _drop(self, name: str, former: str | None) -> None:
        if former is None:
            self._remove_all()
            return
        self._peft.set_adapter(former)
        if name in self._peft.peft_config:
            self._peft.delete_adapter(name)

    def _remove_all(self) -> None:
        if self._peft is not None:
            self.model = self._peft.unload()
        self._peft = self._name = None


def _load(base: Path, dtype: Dtype | None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    if torch.cuda.is_available():
        device, default = "cuda", "bfloat16"
    else:
        device, default = "cpu", cpu_dtype(torch.cpu.get_capabilities())
        # One core stays free: OpenMP threads that spin while another process holds a core made two threads 20 times
        # slower than one here (24 tokens: 32.8 s against 1.6 s; with OMP_WAIT_POLICY=passive 1.9 s).
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))
    try:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype or default))
        model = model.to(device).eval()
    except (OSError, ValueError) as exc:
        raise ModelError(f"The base model in {base.name} cannot be loaded ({type(exc).__name__}).", mend="Check TWIN_MODEL__BASE.") from exc
    except torch.OutOfMemoryError as exc:
        raise ModelError(f"The base model in {base.name} does not fit into the GPU's memory.", mend="Choose a smaller one.") from exc
    model.generation_config = GenerationConfig()  # its makers' sampling habits (top_k, repetition_penalty) are not the owner's
    return model
