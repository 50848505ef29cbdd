"""The dtype follows the CPU's instructions."""

from __future__ import annotations

import pytest

from twin.precision import cpu_dtype


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"architecture": "x86_64", "avx2": True, "avx512_bw": False}, "float32"),
        ({"architecture": "x86_64", "avx2": True, "avx512_bw": True}, "bfloat16"),
        ({"architecture": "x86_64", "amx_bf16": True}, "bfloat16"),
        ({"architecture": "aarch64"}, "bfloat16"),
        ({}, "bfloat16"),
    ],
)
def test_an_x86_cpu_without_avx512_computes_in_fp32(capabilities: dict[str, object], dtype: str) -> None:
    assert cpu_dtype(capabilities) == dtype
