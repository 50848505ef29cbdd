"""Causal attention for training on a CPU.

torch's own kernel for CPUs is quick forward and slow backward (45 of 54 ms for 4 rows of 475 tokens, 9 heads of 64 over 3
key heads, bf16). Matrix products over blocks of queries take 32 ms, their gradients are closer to fp32's, and heads that
share a key need no copies of it. Import it where a model is made: it needs torch.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch

NAME = "twin_cpu"
BLOCK = 160  # queries at a time: what lies right of a block is never computed


class _Attention(torch.autograd.Function):
    """q (rows, heads, tokens, width), k and v (rows, key heads, tokens, width) -> the shape of q."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, scaling: float) -> Any:
        rows, heads, tokens, width = q.shape
        keys = rows * k.shape[1]
        shared = heads // k.shape[1]  # queries of these heads look at the same keys: one product for all
        queries = (q * scaling).reshape(keys, shared, tokens, width)
        flat_k, flat_v = k.reshape(keys, tokens, width), v.reshape(keys, tokens, width)
        out = torch.empty_like(queries)
        weights = []
        for first, end in _blocks(tokens):
            length = end - first
            scores = torch.bmm(queries[:, :, first:end].reshape(keys, -1, width), flat_k[:, :end].transpose(1, 2))
            scores.view(keys, shared, length, end)[..., first:] += torch.full((length, length), -torch.inf, dtype=q.dtype).triu_(1)
            weights.append(torch.softmax(scores, -1))
            out[:, :, first:end] = torch.bmm(weights[-1], flat_v[:, :end]).view(keys, shared, length, width)
        ctx.save_for_backward(queries, flat_k, flat_v, *weights)
        ctx.scaling, ctx.k_shape = scaling, k.shape
        return out.view(q.shape)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        queries, k, v, *weights = ctx.saved_tensors
        keys, shared, tokens, width = queries.shape
        grad = grad.reshape(queries.shape)
        to_q, to_k, to_v = torch.empty_like(queries), torch.zeros_like(k), torch.zeros_like(v)
        for (first, end), weight in zip(_blocks(tokens), weights, strict=True):
            block = grad[:, :, first:end].reshape(keys, -1, width)
            to_v[:, :end] += torch.bmm(weight.transpose(1, 2), block)
            to_weight = torch.bmm(block, v[:, :end].transpose(1, 2))
            to_scores = torch.ops.aten._softmax_backward_data(to_weight, weight, -1, weight.dtype)
            to_q[:, :, first:end] = torch.bmm(to_scores, k[:, :end]).view(keys, shared, -1, width)
            to_k[:, :end] += torch.bmm(to_scores.transpose(1, 2), queries[:, :, first:end].reshape(keys, -1, width))
        rows, key_heads = ctx.k_shape[:2]
        return to_q.mul_(ctx.scaling).view(rows, key_heads * shared, tokens, width), to_k.view(ctx.k_shape), to_v.view(ctx.k_shape), None


def _blocks(tokens: int) -> list[tuple[int, int]]:
    number = max(1, round(tokens / BLOCK))
    edges = [tokens * i // number for i in range(number + 1)]
    return list(itertools.pairwise(edges))


def attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> tuple[Any, None]:
    """transformers' attention interface. What goes beyond plain causal attention over whole rows is left to its own sdpa."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    sliding = options.get("sliding_window")
    plain = (
        attention_mask is None
        and query.shape[2] == key.shape[2]
        and query.shape[-1] == value.shape[-1]
        and getattr(module, "is_causal", True)
        and options.get("is_causal") in (None, True)
        and not options.get("dropout")
        and not options.get("softcap")
        and options.get("position_bias") is None
        and (sliding is None or sliding >= query.shape[2])
        and torch.is_grad_enabled()
    )
    if not plain:
        return tuple(sdpa_attention_forward(module, query, key, value, attention_mask, **options))
    scaling = options.get("scaling")
    attend: Any = _Attention.apply
    out = attend(query, key, value, query.shape[-1] ** -0.5 if scaling is None else scaling)
    return out.transpose(1, 2).contiguous(), None


def install(model: Any) -> None:
    """Let `model` (transformers) train with it."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)  # it leaves the mask out where rows are plainly causal
    model.set_attn_implementation(NAME)
