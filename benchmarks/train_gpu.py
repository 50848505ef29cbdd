"""What share of a CUDA card's bf16 peak does the product's training step reach on an 8B model?

    .venv/bin/python benchmarks/train_gpu.py [--seconds 20] [--length 2048]

The model has the shape of Llama 3.1 8B and random weights, so nothing is downloaded. The step is the product's own: LoRA on
all linear layers (trainer.lora.add_lora), trainer.train.train_step, fp32 masters. Full rows of --length tokens, a third of
them with a loss. It is measured plain and with compiled layers, at growing micro-batches, and the best counts. FLOPs are
4 a parameter a token: forward, and backward to the activations; frozen weights get no gradient. Without a card it says so.
The last line is one JSON object. `--shape tiny --device cpu` runs the same code without a card, for its test.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import asdict, dataclass
from typing import Any

from trainer.batches import Row
from trainer.lora import Masters, add_lora, compile_layers
from trainer.train import train_step
from twin.settings import Training

BAR = 0.5
# Dense bf16 TFLOP/s with fp32 accumulation, from the vendor's data sheets; the first name found in the card's counts.
PEAKS = {
    "B200": 2250.0,
    "H200 NVL": 835.0,
    "H200": 989.0,
    "H100 NVL": 835.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "A10G": 70.0,
    "A10": 125.0,
    "RTX 6000 Ada": 364.0,
    "RTX 5090": 209.5,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}
SHAPES = {
    "8b": {
        "vocab_size": 128_256,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
    },
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
    },
}


@dataclass(frozen=True)
class Measured:
    """One way of running the step. `share_of_peak` is None where the device has no known peak."""

    compiled: bool
    checkpointed: bool
    rows: int
    tokens_per_second: float
    share_of_peak: float | None
    memory_gib: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=tuple(SHAPES), default="8b")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--length", type=int, default=2048, help="tokens of a row")
    parser.add_argument("--rows", type=int, nargs="+", default=[2, 4, 8, 16], help="rows of a micro-batch, one after the other")
    parser.add_argument("--seconds", type=float, default=20.0, help="of measuring each way")
    parser.add_argument("--compile", choices=("both", "off", "on"), default="both")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="for cards with little memory")
    args = parser.parse_args()
    print(json.dumps(measure(args)))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA card here: nothing was measured.")
        return {"name": "train_gpu", "ratio": None, "bar": BAR, "holds": None, "reason": "no CUDA card"}
    card = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    peak, source = peak_flops(card) if args.device == "cuda" else (None, "none for a CPU")
    model = build(args.shape, args.device, checkpointing=args.gradient_checkpointing)
    parameters = sum(p.numel() for name, p in model.named_parameters() if "lora_" not in name)
    print(f"{card}: {parameters / 1e9:.2f}B parameters, peak {peak / 1e12 if peak else 0:.0f} TFLOP/s ({source})", flush=True)
    found: list[Measured] = []
    for compiled in {"both": (False, True), "off": (False,), "on": (True,)}[args.compile]:
        if compiled:
            compile_layers(model)
        masters = Masters(model, 1e-4)
        for rows in args.rows:
            fits = True
            try:
                found.append(run(model, masters, rows, args, parameters, peak, compiled))
                print(json.dumps(asdict(found[-1])), flush=True)
            except torch.OutOfMemoryError:
                fits = False
            if not fits:  # here the failed step's tensors are free
                print(f"{rows} rows of {args.length} do not fit", flush=True)
                model.zero_grad(set_to_none=True)
                torch.cuda.empty_cache()
                break
    best = max(found, key=lambda one: one.tokens_per_second, default=None)
    share = best.share_of_peak if best else None
    return {
        "name": "train_gpu",
        "ratio": share and round(share, 4),
        "bar": BAR,
        "holds": None if share is None else share > BAR,
        "card": card,
        "parameters": parameters,
        "peak_tflops": peak and round(peak / 1e12, 1),
        "peak_source": source,
        "length": args.length,
        "best": asdict(best) if best else None,
        "all": [asdict(one) for one in found],
        **({} if best else {"reason": "not one micro-batch fits into the card's memory"}),
    }


def build(shape: str, device: str, *, checkpointing: bool) -> Any:
    """A Llama of that shape with random bf16 weights, made on the device itself, with the product's LoRA."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(**SHAPES[shape], rms_norm_eps=1e-5, tie_word_embeddings=False, attn_implementation="sdpa")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    tuned = add_lora(model, Training())
    if checkpointing:
        tuned.enable_input_require_grads()
        tuned.gradient_checkpointing_enable({"use_reentrant": False})
    return tuned.train()


def run(model: Any, masters: Masters, rows: int, args: argparse.Namespace, parameters: int, peak: float | None, compiled: bool) -> Measured:
    import torch

    cuda = args.device == "cuda"
    draw = random.Random(rows)
    vocabulary = range(SHAPES[args.shape]["vocab_size"])
    supervised = tuple(range(args.length - args.length // 3, args.length))
    batch = [Row(tuple(draw.choices(vocabulary, k=args.length)), supervised) for _ in range(rows)]
    for _ in range(3):  # kernels, buffers, compilation
        train_step(model, masters, [batch], 1e-5)
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    steps = 0
    started = time.perf_counter()
    while steps < 3 or time.perf_counter() - started < args.seconds:
        train_step(model, masters, [batch], 1e-5)
        steps += 1
    if cuda:
        torch.cuda.synchronize()
    speed = steps * rows * args.length / (time.perf_counter() - started)
    return Measured(
        compiled=compiled,
        checkpointed=args.gradient_checkpointing,
        rows=rows,
        tokens_per_second=round(speed, 1),
        share_of_peak=round(4 * parameters * speed / peak, 4) if peak else None,
        memory_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2) if cuda else None,
    )


def peak_flops(card: str) -> tuple[float, str]:
    """FLOP/s of dense bf16 products: from the data sheet, or the best of some large products where the card is unknown."""
    for name, peak in PEAKS.items():
        if name.lower() in card.lower() and "MIG" not in card:  # a slice of a card has a share of its peak
            return peak * 1e12, "data sheet"
    import torch

    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(20):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(5):
            a @ b
        torch.cuda.synchronize()
        best = max(best, 5 * 2 * 8192**3 / (time.perf_counter() - started))
    return best, "measured on 8192 x 8192 products"


if __name__ == "__main__":
    main()
