"""The number format that a model computes in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512_bw")  # oneDNN has bf16 products from AVX-512 on


def cpu_dtype(capabilities: Mapping[str, Any]) -> Literal["bfloat16", "float32"]:
    """The faster dtype of torch on this CPU, by what `torch.cpu.get_capabilities()` says of it.

    An x86 CPU without AVX-512 has no bf16 kernels: a product of 256 x 576 by 576 x 576 took 24.7 ms in bf16 and 4.6 ms in fp32
    (AVX2, one core).
    """
    is_slow = capabilities.get("architecture") == "x86_64" and not any(capabilities.get(name) for name in BF16_INSTRUCTIONS)
    return "float32" if is_slow else "bfloat16"
