"""The quick layers for CPUs compute what transformers' own compute, and other families' layers are left alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional as F

from trainer import cpu_layers
from trainer.batches import Row
from trainer.lora import add_lora, batch_loss
from twin.settings import Training

SHAPE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
BATCH = [Row(tuple(range(1, 25)), tuple(range(3, 24))), Row(tuple(range(30, 49)), (5, 6, 18))]


def untrained(family: str, dtype: torch.dtype, **options: Any) -> Any:
    import transformers

    torch.manual_seed(7)
    config = getattr(transformers, f"{family}Config")(**SHAPE, **options)
    return getattr(transformers, f"{family}ForCausalLM")(config).to(dtype)


def plain(family: str, dtype: torch.dtype, **options: Any) -> Any:
    """PEFT and transformers as they come."""
    model = untrained(family, dtype, **options)
    model.set_attn_implementation("sdpa")
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, config, autocast_adapter_dtype=False).to(dtype).train()


def quick(family: str, dtype: torch.dtype, **options: Any) -> Any:
    return add_lora(untrained(family, dtype, **options), Training()).to(dtype)


def loss_and_gradients(model: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """With random LoRA weights: fresh ones, B = 0, would hide half of the gradients."""
    torch.manual_seed(11)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.1)
        elif "norm" in name or name.endswith("bias"):
            nn.init.normal_(parameter, mean=1.0, std=0.2)
    loss, _ = batch_loss(model, BATCH)
    loss.backward()
    return loss.item(), {name: p.grad.float() for name, p in model.named_parameters() if p.requires_grad}


def distance(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """The norm of the difference of all gradients together, as a share of theirs."""
    assert found.keys() == wanted.keys()
    both = [torch.cat([grads[name].flatten() for name in wanted]) for grads in (found, wanted)]
    return float((both[0] - both[1]).norm() / both[1].norm())


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3", "Gemma2"])
def test_loss_and_gradients_are_those_of_transformers_and_peft(family: str) -> None:
    ours, theirs = (loss_and_gradients(make(family, torch.float32)) for make in (quick, plain))
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
    assert distance(ours[1], theirs[1]) < 1e-4


@pytest.mark.parametrize("family", ["Llama", "Qwen2"])
def test_in_bf16_gradients_are_not_further_from_fp32_than_those_of_transformers(family: str) -> None:
    exact = loss_and_gradients(plain(family, torch.float32).to(torch.bfloat16).float())
    ours, theirs = (loss_and_gradients(make(family, torch.bfloat16)) for make in (quick, plain))
    assert ours[0] == pytest.approx(exact[0], rel=0.01)
    assert distance(ours[1], exact[1]) < 1.3 * distance(theirs[1], exact[1])


def test_a_short_sliding_window_is_kept() -> None:
    ours, theirs = (loss_and_gradients(make("Mistral", torch.float32, sliding_window=5)) for make in (quick, plain))
    assert distance(ours[1], theirs[1]) < 1e-4


def test_layers_of_llama_are_replaced_and_those_of_a_family_with_another_norm_are_not() -> None:
    def replaced(model: Any) -> set[str]:
        return {type(module).__name__ for module in model.modules() if "forward" in vars(module)}

    assert replaced(quick("Llama", torch.float32)) == {"LlamaRMSNorm", "LlamaMLP", "LlamaAttention"}
    assert replaced(quick("Gemma2", torch.float32)) == set()


def test_another_activation_is_kept() -> None:
    ours, theirs = (loss_and_gradients(make("Llama", torch.float32, hidden_act="gelu")) for make in (quick, plain))
    assert distance(ours[1], theirs[1]) < 1e-4


def test_with_the_adapter_off_the_base_model_answers() -> None:
    ours, theirs = quick("Llama", torch.float32), plain("Llama", torch.float32)
    with torch.no_grad(), ours.disable_adapter(), theirs.disable_adapter():
        ids = torch.arange(1, 20)[None]
        torch.testing.assert_close(ours(ids).logits, theirs(ids).logits)


def test_names_are_those_of_peft() -> None:
    assert [n for n, _ in quick("Llama", torch.float32).named_parameters()] == [
        n for n, _ in plain("Llama", torch.float32).named_parameters()
    ]


@pytest.mark.parametrize("rows", [1, 64, 150])
def test_the_loss_is_that_of_torch(rows: int) -> None:
    torch.manual_seed(rows)
    logits = (torch.randn(rows, 50) * 4).requires_grad_()
    wanted = torch.randint(50, (rows,))
    ours, theirs = cpu_layers.cross_entropy(logits, wanted), F.cross_entropy(logits, wanted, reduction="sum")
    torch.testing.assert_close(ours, theirs)
    found, expected = (torch.autograd.grad(loss / 3, logits)[0] for loss in (ours, theirs))
    torch.testing.assert_close(found, expected)
