"""The attention for training on CPUs computes what torch's own computes, and steps aside where it does not apply."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from trainer import cpu_attention

MODULE = SimpleNamespace(is_causal=True, num_key_value_groups=3)


def tensors(tokens: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    torch.manual_seed(5)
    return [torch.randn(2, tokens, heads, 16).to(dtype).transpose(1, 2).requires_grad_() for heads in (6, 2, 2)]


def expected(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **options: object) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True, **options).transpose(1, 2)


@pytest.mark.parametrize("tokens", [1, 7, 160, 401])
def test_outputs_and_gradients_are_those_of_torch(tokens: int) -> None:
    inputs = tensors(tokens)
    weight = torch.randn(2, tokens, 6, 16)
    found = []
    for out in (cpu_attention.attention(MODULE, *inputs, None)[0], expected(*inputs, is_causal=True)):
        found.append((out.detach(), torch.autograd.grad((out * weight).sum(), inputs)))
    torch.testing.assert_close(found[0], found[1])


def test_a_scale_of_the_family_is_used() -> None:
    inputs = tensors(9)
    torch.testing.assert_close(cpu_attention.attention(MODULE, *inputs, None, scaling=0.7)[0], expected(*inputs, is_causal=True, scale=0.7))


def test_a_mask_goes_to_torch() -> None:
    inputs = tensors(9)
    mask = torch.rand(2, 1, 9, 9) < 0.8
    mask |= torch.eye(9, dtype=torch.bool)
    torch.testing.assert_close(cpu_attention.attention(MODULE, *inputs, mask)[0], expected(*inputs, attn_mask=mask))


def test_a_short_sliding_window_is_not_treated_as_causal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_attention._Attention, "apply", None)  # would raise if it were called
    inputs = tensors(9)
    assert cpu_attention.attention(MODULE, *inputs, None, sliding_window=4)[0].shape == (2, 9, 6, 16)


def test_in_bf16_its_gradients_are_not_further_from_fp32_than_those_of_torch() -> None:
    exact = tensors(300)
    rounded = tensors(300, torch.bfloat16)
    weight = torch.randn(2, 300, 6, 16)
    true = torch.autograd.grad((expected(*exact, is_causal=True) * weight).sum(), exact)
    errors = []
    for out in (cpu_attention.attention(MODULE, *rounded, None)[0], expected(*rounded, is_causal=True)):
        grads = torch.autograd.grad((out.float() * weight).sum(), rounded)
        errors.append(max(float((g.float() - t).norm() / t.norm()) for g, t in zip(grads, true, strict=True)))
    assert errors[0] < 1.5 * errors[1]
