"""Scores of the fixed probes, sealed with an adapter: what a server that holds it must answer to be believed."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from twin.probes import probe_prompts
from twin.renderer import Renderer


def probe_scores(model: Any, renderer: Renderer) -> dict[str, Any]:
    """Natural-log probabilities of the probes' own tokens under the base model and under its adapter, prompt after prompt;
    a prompt's first token has none. `model` is PEFT's, its adapter as it will be served; layers that training compiled run plain,
    for a few short prompts are not worth a minute of compiling."""
    import torch

    prompts = probe_prompts(renderer)
    was_training = model.training
    model.eval()
    found: dict[str, Any] = {"prompts": prompts}
    device = next(model.parameters()).device
    with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
        for name in ("base", "adapter"):
            scores: list[float] = []
            with model.disable_adapter() if name == "base" else nullcontext():
                for ids in prompts:
                    row = torch.tensor([ids], device=device)
                    logits = model(input_ids=row, use_cache=False).logits[0, :-1].float()
                    each = torch.log_softmax(logits, dim=-1).gather(1, row[0, 1:, None])[:, 0]
                    scores += [round(value, 5) for value in each.tolist()]
            found[name] = scores
    model.train(was_training)
    return found
