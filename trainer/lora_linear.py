"""PEFT's LoRA layer with the arithmetic of its update folded into one autograd step.

PEFT computes x Wᵀ + s·(x Aᵀ) Bᵀ as separate products, a multiplication by s and an addition, each a pass over a tensor of
the layer's full width, forward and backward. Here s is folded into the narrow product and the sums are done by the matrix
products themselves (addmm), so the only wide passes left are the products. Layers with the same input (q, k and v; gate and
up) can go together: their narrow products are one, and their gradients add up inside the products. Same weights, same names,
same files. Import it where a model is made: it needs torch and peft.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from peft.tuners.lora.layer import Linear


class Weights(NamedTuple):
    """One linear layer: `weight` (out, in) and `bias` are frozen, `a` (r, in) and `b` (out, r) are trained."""

    weight: Any
    bias: Any
    a: Any
    b: Any
    scaling: float


def products(flat: Any, layers: Sequence[Weights]) -> tuple[list[Any], list[Any]]:
    """Of each layer: its output for `flat` (tokens, in), and the narrow product s·x Aᵀ that `gradients` needs again."""
    narrow = list(torch.split(flat @ torch.cat([layer.a for layer in layers]).t(), [len(layer.a) for layer in layers], 1))
    outs = []
    for layer, part in zip(layers, narrow, strict=True):
        part.mul_(layer.scaling)
        out = flat @ layer.weight.t() if layer.bias is None else torch.addmm(layer.bias, flat, layer.weight.t())
        outs.append(out.addmm_(part, layer.b.t()))
    return outs, narrow


def gradients(
    flat: Any, layers: Sequence[Weights], narrow: Sequence[Any], grads: Sequence[Any], *, of_input: bool
) -> tuple[Any, list[Any], list[Any]]:
    """The gradient of the common input (None if not asked for), of each a and of each b."""
    back = torch.cat([grad @ layer.b for layer, grad in zip(layers, grads, strict=True)], 1)
    sizes = [len(layer.a) for layer in layers]
    for layer, part in zip(layers, torch.split(back, sizes, 1), strict=True):
        part.mul_(layer.scaling)
    to_a = list(torch.split(back.t() @ flat, sizes))
    to_b = [grad.t() @ part for grad, part in zip(grads, narrow, strict=True)]
    if not of_input:
        return None, to_a, to_b
    to_x = grads[0] @ layers[0].weight
    for layer, grad in zip(layers[1:], grads[1:], strict=True):
        to_x.addmm_(grad, layer.weight)
    return to_x.addmm_(back, torch.cat([layer.a for layer in layers])), to_a, to_b


class _Update(torch.autograd.Function):
    """y = base + s·(x Aᵀ) Bᵀ and its gradients, with the frozen base product inside: x is saved once for both."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, scaling: float) -> Any:
        flat = x.reshape(-1, x.shape[-1])
        (out,), (narrow,) = products(flat, [Weights(weight, bias, a, b, scaling)])
        ctx.save_for_backward(flat, weight, a, b, narrow)
        ctx.scaling = scaling
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        flat, weight, a, b, narrow = ctx.saved_tensors
        layers = [Weights(weight, None, a, b, ctx.scaling)]
        wide = grad.reshape(-1, grad.shape[-1])
        to_x, (to_a,), (to_b,) = gradients(flat, layers, [narrow], [wide], of_input=ctx.needs_input_grad[0])
        return None if to_x is None else to_x.view(*grad.shape[:-1], -1), None, None, to_a, to_b, None


class LoraLinear(Linear):  # type: ignore[misc]
    """PEFT's layer over a plain linear layer, for LoRA without dropout."""

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        found = None if args or kwargs else self.folded(x)
        if found is None:
            return super().forward(x, *args, **kwargs)
        update: Any = _Update.apply
        return update(x, *found)

    def folded(self, x: Any) -> Weights | None:
        """What to compute with, or None where PEFT's own way is called for: merged, disabled, several adapters, casts."""
        if self.merged or self.disable_adapters or len(self.active_adapters) != 1:
            return None
        name = self.active_adapters[0]
        base, a, b = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
        if not x.dtype == a.dtype == base.weight.dtype:
            return None
        return Weights(base.weight, base.bias, a, b, self.scaling[name])
