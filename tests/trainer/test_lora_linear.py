"""The quick LoRA layer computes what PEFT's own computes, forward and backward, and leaves the same files."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from trainer.batches import Row
from trainer.lora import add_lora, batch_loss, compile_layers
from trainer.lora_linear import LoraLinear
from twin.settings import Training


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


def test_weights_of_another_precision_are_cast_as_peft_casts_them() -> None:
    ours, theirs = network(quick=True, bias=True), network(quick=False, bias=True)
    for model in (ours, theirs):
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.to(torch.bfloat16)
    x = torch.randn(3, 24)
    torch.testing.assert_close(ours(x), theirs(x))


def test_weights_have_the_names_that_peft_gives_them() -> None:
    assert [n for n, _ in network(quick=True, bias=True).named_parameters()] == [
        n for n, _ in network(quick=False, bias=True).named_parameters()
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:torch.*")  # torch's tracer makes them itself
def test_compiled_layers_give_the_same_gradients_under_the_same_names() -> None:
    """Traced by the compiler as on a card, run without generated code; one graph has to serve several shapes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    shape = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = add_lora(LlamaForCausalLM(LlamaConfig(**shape, num_hidden_layers=2)).to(torch.bfloat16), Training())
    model.get_base_model().set_attn_implementation("sdpa")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    batches = [[Row(tuple(range(1, 1 + length)), tuple(range(3, length)))] * rows for rows, length in ((2, 24), (3, 17))]

    def all_gradients() -> list[torch.Tensor]:
        found = []
        for batch in batches:
            model.zero_grad()
            batch_loss(model, batch)[0].backward()
            found += [p.grad.float().clone() for p in model.parameters() if p.requires_grad]
        return found

    names = [name for name, _ in model.named_parameters()]
    plain = all_gradients()
    compile_layers(model, backend="aot_eager", fullgraph=True)
    for found, wanted in zip(all_gradients(), plain, strict=True):  # the graph is of transformers' layers, `plain` of the quick ones
        assert (found - wanted).norm() < 0.03 * wanted.norm() + 1e-6
    assert [name for name, _ in model.named_parameters()] == names
