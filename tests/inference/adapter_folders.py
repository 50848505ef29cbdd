"""Adapter folders that are real for PEFT and vLLM, with random weights big enough to change what is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

from inference.prompting import load_tokenizer
from trainer.probes import probe_scores
from twin.base_folder import base_name, tokenizer_hash
from twin.generator import ActiveAdapter
from twin.renderer import Renderer


def seal_adapter(base: Path, folder: Path, *, r: int = 16, seed: int = 1, size: float = 0.02) -> ActiveAdapter:
    """`size`: standard deviation of B; 0 is an adapter that has learnt nothing."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    tuned = get_peft_model(
        model, LoraConfig(r=r, lora_alpha=2 * r, target_modules="all-linear", task_type="CAUSAL_LM"), autocast_adapter_dtype=False
    )
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            parameter.data = (torch.randn_like(parameter.data, dtype=torch.float32) * size).to(torch.bfloat16)
    probes = probe_scores(tuned, Renderer(load_tokenizer(base)))
    tuned.peft_config["default"].base_model_name_or_path = base_name(base)
    tuned.save_pretrained(folder, save_embedding_layers=False)  # "auto" asks the hub about the base model
    manifest = {"name": folder.name, "base": {"name": base_name(base), "tokenizer": tokenizer_hash(base)}, "probes": probes}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return ActiveAdapter(folder.name, folder)


def rename_layers(adapter: ActiveAdapter, folder: Path, pattern: str, replacement: str) -> ActiveAdapter:
    """The same weights under other names."""
    from safetensors.torch import load_file, save_file

    folder.mkdir()
    for name in ("adapter_config.json", "manifest.json"):
        (folder / name).write_bytes((adapter.path / name).read_bytes())
    weights = load_file(adapter.path / "adapter_model.safetensors")
    renamed = {re.sub(pattern, replacement, name): tensor for name, tensor in weights.items()}
    assert renamed.keys() != weights.keys()
    save_file(renamed, folder / "adapter_model.safetensors")
    return ActiveAdapter(folder.name, folder)


def change_json(folder: Path, name: str, **changes: object) -> None:
    found = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(found | changes))
