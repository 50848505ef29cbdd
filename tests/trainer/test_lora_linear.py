"""The quick LoRA layer computes what PEFT's own computes, forward and backward, and leaves the same files."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from trainer.lora_linear import LoraLinear


def network(*, quick: bool, bias: bool) -> nn.Module:
    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=12, target_modules=["0", "2"], init_lora_weights=False)
    if quick:
        config._register_custom_module({nn.Linear: LoraLinear})
    return get_peft_model(nn.Sequential(nn.Linear(24, 40, bias=bias), nn.SiLU(), nn.Linear(40, 8, bias=bias)), config)


def gradients(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    x = x.clone().requires_grad_()
    model(x).square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad} | {"x": x.grad}


@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_peft(bias: bool) -> None:
    ours, theirs = network(quick=True, bias=bias), network(quick=False, bias=bias)
    assert sum(isinstance(module, LoraLinear) for module in ours.modules()) == 2
    x = torch.randn(2, 5, 24)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(gradients(ours, x), gradients(theirs, x))


def test_a_disabled_or_merged_adapter_is_respected() -> None:
    ours, theirs = network(quick=True, bias=True), network(quick=False, bias=True)
    x = torch.randn(3, 24)
    with ours.disable_adapter(), theirs.disable_adapter():
        torch.testing.assert_close(ours(x), theirs(x))
    expected = ours(x)
    ours.merge_adapter()
    torch.testing.assert_close(ours(x), expected)


def test_weights_have_the_names_that_peft_gives_them() -> None:
    assert [n for n, _ in network(quick=True, bias=True).named_parameters()] == [
        n for n, _ in network(quick=False, bias=True).named_parameters()
    ]
