"""The small layers of Llama-like models for training on a CPU: the same maths with fewer passes over memory.

Norms, rotary embeddings, SiLU·up and the loss are a handful of arithmetic each, but as separate autograd steps they take as
long as the matrix products: every step reads and writes the whole activation, often in fp32. Here each is one autograd
function. Only module classes whose forward is known to be that maths are touched (KNOWN), all others stay as transformers
wrote them. Import it where a model is made: it needs torch.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.nn import functional as F

from trainer import cpu_attention
from trainer.lora_linear import LoraLinear, Weights, gradients, products

# transformers.models.<family>.modeling_<family>.<class>; their forwards are the same text as Llama's
KNOWN = {
    "norm": {"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm", "SmolLM3RMSNorm"},
    "mlp": {"LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP", "SmolLM3MLP"},
    "attention": {"LlamaAttention", "MistralAttention", "Qwen2Attention"},
}
LOSS_ROWS = 64  # of logits at a time in fp32: 12 MiB at 49,152 words, which malloc reuses; more would be fresh pages each time


def install(model: Any) -> None:
    """Put the quick attention and quick forwards of known layers on a transformers model. Names and weights stay as they are."""
    cpu_attention.install(model)
    forwards = {"norm": _norm, "mlp": _mlp, "attention": _attention}
    for module in model.modules():
        if not type(module).__module__.startswith("transformers.models."):
            continue
        for kind, names in KNOWN.items():
            if type(module).__name__ in names:
                module.forward = functools.partial(forwards[kind], module)


# --- RMSNorm ----------------------------------------------------------------------------------------------------------


class _RmsNorm(torch.autograd.Function):
    """weight · x / rms(x): statistics and the division in fp32, rounded before the weight, as transformers does it."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, eps: float) -> Any:
        wide = x.float()
        root = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, root)
        return (wide * root if wide is x else wide.mul_(root)).to(x.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, weight, root = ctx.saved_tensors
        to_normed = (grad * weight).float()
        normed = x.float() * root
        along = (to_normed * normed).mean(-1, keepdim=True)
        return to_normed.addcmul_(normed, along, value=-1).mul_(root).to(x.dtype), None, None


def _norm(self: Any, hidden_states: Any) -> Any:
    if self.weight.requires_grad or self.weight.dtype != hidden_states.dtype or torch.compiler.is_compiling():
        return type(self).forward(self, hidden_states)
    apply: Any = _RmsNorm.apply
    return apply(hidden_states, self.weight, self.variance_epsilon)


# --- the MLP ----------------------------------------------------------------------------------------------------------


class _Mlp(torch.autograd.Function):
    """down(SiLU(gate(x)) · up(x)), each with its LoRA. Keeps gate and up only, and computes their product again."""

    @staticmethod
    def forward(ctx: Any, x: Any, *weights: Any) -> Any:
        gate, up, down = _layers(weights)
        flat = x.reshape(-1, x.shape[-1])
        (gated, upped), narrow = products(flat, [gate, up])
        (out,), last = products(F.silu(gated).mul_(upped), [down])
        ctx.save_for_backward(flat, gated, upped, *narrow, *last, *_tensors([gate, up, down]))
        ctx.scalings = [layer.scaling for layer in (gate, up, down)]
        return out.view(x.shape)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        saved = ctx.saved_tensors  # once: under gradient checkpointing it may be asked for no second time
        flat, gated, upped, *narrow = saved[:6]
        gate, up, down = _restore(saved[6:], ctx.scalings)
        wide = grad.reshape(flat.shape)
        lit = F.silu(gated)
        to_hidden, a_down, b_down = gradients(lit * upped, [down], narrow[2:], [wide], of_input=True)
        lit.mul_(to_hidden)  # the gradient of up
        to_gate = torch.ops.aten.silu_backward(to_hidden.mul_(upped), gated)
        of_input = ctx.needs_input_grad[0]
        to_x, a_both, b_both = gradients(flat, [gate, up], narrow[:2], [to_gate, lit], of_input=of_input)
        pairs = zip([*a_both, *a_down], [*b_both, *b_down], strict=True)
        trained = [found for a, b in pairs for found in (None, None, a, b, None)]
        return to_x if to_x is None else to_x.view(grad.shape), *trained


def _mlp(self: Any, x: Any) -> Any:
    layers = _folded([self.gate_proj, self.up_proj, self.down_proj], x)
    if layers is None or getattr(self.config, "hidden_act", None) != "silu":
        return type(self).forward(self, x)
    apply: Any = _Mlp.apply
    return apply(x, *(part for layer in layers for part in layer))


# --- attention --------------------------------------------------------------------------------------------------------


class _Joint(torch.autograd.Function):
    """q, k and v of the same input in one step; each (tokens, out)."""

    @staticmethod
    def forward(ctx: Any, x: Any, *weights: Any) -> Any:
        layers = _layers(weights)
        flat = x.reshape(-1, x.shape[-1])
        outs, narrow = products(flat, layers)
        ctx.save_for_backward(flat, *narrow, *_tensors(layers))
        ctx.scalings, ctx.shape = [layer.scaling for layer in layers], x.shape
        return tuple(out.view(*x.shape[:-1], -1) for out in outs)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        number = len(grads)
        saved = ctx.saved_tensors
        flat, *narrow = saved[: 1 + number]
        layers = _restore(saved[1 + number :], ctx.scalings)
        wide = [grad.reshape(len(flat), -1) for grad in grads]
        to_x, to_a, to_b = gradients(flat, layers, narrow, wide, of_input=ctx.needs_input_grad[0])
        trained = [found for a, b in zip(to_a, to_b, strict=True) for found in (None, None, a, b, None)]
        return to_x if to_x is None else to_x.view(ctx.shape), *trained


class _Rotate(torch.autograd.Function):
    """Rotary embedding of (rows, heads, tokens, width), halves rotated against each other; cos and sin (rows, tokens, width)."""

    @staticmethod
    def forward(ctx: Any, x: Any, cos: Any, sin: Any) -> Any:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        cos, sin = ctx.saved_tensors
        return _turned(grad, cos, sin, -1), None, None


def _turned(x: Any, cos: Any, sin: Any, way: int) -> Any:
    half = x.shape[-1] // 2
    cos, sin = cos[:, None, :, :half], sin[:, None, :, :half]  # the second half repeats the first
    first, second = x[..., :half], x[..., half:]
    out = torch.empty(x.shape, dtype=x.dtype)
    torch.mul(first, cos, out=out[..., :half]).addcmul_(second, sin, value=-way)
    torch.mul(second, cos, out=out[..., half:]).addcmul_(first, sin, value=way)
    return out


def _attention(self: Any, hidden_states: Any, position_embeddings: Any = None, attention_mask: Any = None, **options: Any) -> Any:
    layers = _folded([self.q_proj, self.k_proj, self.v_proj], hidden_states)
    plain = options.get("past_key_values") is None and self.config._attn_implementation == cpu_attention.NAME
    if layers is None or not plain or position_embeddings[0].shape[-1] != self.head_dim:
        return type(self).forward(self, hidden_states, position_embeddings, attention_mask, **options)
    joint: Any = _Joint.apply
    rotate: Any = _Rotate.apply
    heads = (*hidden_states.shape[:-1], -1, self.head_dim)
    q, k, v = (out.view(heads).transpose(1, 2) for out in joint(hidden_states, *(part for layer in layers for part in layer)))
    cos, sin = position_embeddings
    window = self.sliding_window if hasattr(self, "sliding_window") else getattr(self.config, "sliding_window", None)
    options |= {"sliding_window": window, "scaling": self.scaling, "dropout": self.attention_dropout if self.training else 0.0}
    out, weights = cpu_attention.attention(self, rotate(q, cos, sin), rotate(k, cos, sin), v, attention_mask, **options)
    return self.o_proj(out.reshape(*hidden_states.shape[:-1], -1)), weights


# --- the loss ---------------------------------------------------------------------------------------------------------


class _CrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of logits (targets, words), in fp32 a few rows at a time."""

    @staticmethod
    def forward(ctx: Any, logits: Any, wanted: Any) -> Any:
        log_sums = torch.cat([part.float().logsumexp(-1) for part in logits.split(LOSS_ROWS)])
        ctx.save_for_backward(logits, wanted, log_sums)
        return (log_sums - logits.gather(1, wanted[:, None])[:, 0].float()).sum()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        logits, wanted, log_sums = ctx.saved_tensors
        out = torch.empty_like(logits)
        for part, made, log_sum, words in zip(*(t.split(LOSS_ROWS) for t in (logits, out, log_sums, wanted)), strict=True):
            share = part.to(torch.float32, copy=True).sub_(log_sum[:, None]).exp_()
            share.scatter_add_(1, words[:, None], torch.full((len(words), 1), -1.0))
            made.copy_(share.mul_(grad))
        return out, None


def cross_entropy(logits: Any, wanted: Any) -> Any:
    """F.cross_entropy(logits.float(), wanted, reduction="sum") without fp32 copies of all the logits."""
    apply: Any = _CrossEntropy.apply
    return apply(logits, wanted)


# --- LoRA weights in and out of autograd functions --------------------------------------------------------------------


def _folded(modules: list[Any], x: Any) -> list[Weights] | None:
    if torch.compiler.is_compiling() or not all(type(module) is LoraLinear for module in modules):
        return None
    found = [module.folded(x) for module in modules]
    return None if None in found else found


def _layers(parts: Any) -> list[Weights]:
    return [Weights(*parts[i : i + 5]) for i in range(0, len(parts), 5)]


def _tensors(layers: list[Weights]) -> list[Any]:
    return [tensor for layer in layers for tensor in (layer.weight, layer.a, layer.b)]


def _restore(saved: Any, scalings: list[float]) -> list[Weights]:
    """The layers again, but for the biases: no gradient asks for them."""
    return [Weights(saved[3 * i], None, saved[3 * i + 1], saved[3 * i + 2], s) for i, s in enumerate(scalings)]
