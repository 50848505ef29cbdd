"""PEFT's LoRA layer with the arithmetic of its update folded into one autograd step.

PEFT computes x Wᵀ + s·(x Aᵀ) Bᵀ as separate products, a multiplication by s and an addition, each a pass over a tensor of
the layer's full width, forward and backward. Here s is folded into the narrow product and the sums are done by the matrix
products themselves (addmm), so the only wide passes left are the products. Same weights, same names, same files. Import it
where a model is made: it needs torch and peft.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear


class _Update(torch.autograd.Function):
    """y = base + s·(x Aᵀ) Bᵀ and its gradients, with the frozen base product inside: x is saved once for both."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, scaling: float) -> Any:
        flat = x.reshape(-1, x.shape[-1])
        narrow = (flat @ a.t()).mul_(scaling)
        out = flat @ weight.t() if bias is None else torch.addmm(bias, flat, weight.t())
        ctx.save_for_backward(flat, weight, a, b, narrow)
        ctx.scaling = scaling
        return out.addmm_(narrow, b.t()).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        flat, weight, a, b, narrow = ctx.saved_tensors
        wide = grad.reshape(-1, grad.shape[-1])
        back = (wide @ b).mul_(ctx.scaling)
        to_x = (wide @ weight).addmm_(back, a).view(*grad.shape[:-1], -1) if ctx.needs_input_grad[0] else None
        return to_x, None, None, back.t() @ flat, wide.t() @ narrow, None


class LoraLinear(Linear):  # type: ignore[misc]
    """PEFT's layer over a plain linear layer, for LoRA without dropout."""

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or self.merged or self.disable_adapters or len(self.active_adapters) != 1:
            return super().forward(x, *args, **kwargs)
        a, b = (weights[self.active_adapters[0]].weight for weights in (self.lora_A, self.lora_B))
        base = self.base_layer
        if not x.dtype == a.dtype == base.weight.dtype:  # PEFT casts
            return super().forward(x)
        update: Any = _Update.apply
        return update(x, base.weight, base.bias, a, b, self.scaling[self.active_adapters[0]])
