"""The benchmarks of training run, end with their JSON line and exit 0 whatever the figure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def last_line(*command: str) -> dict[str, Any]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_without_a_card_the_gpu_benchmark_says_so() -> None:
    assert last_line("benchmarks/train_gpu.py") == {
        "name": "train_gpu",
        "ratio": None,
        "bar": 0.5,
        "holds": None,
        "reason": "no CUDA card",
    }


@pytest.mark.slow
def test_the_gpu_benchmark_measures_the_products_step_where_it_is_told_to() -> None:
    tiny = ("--shape", "tiny", "--device", "cpu", "--length", "64", "--rows", "1", "2", "--seconds", "0.1", "--compile", "off")
    found = last_line("benchmarks/train_gpu.py", *tiny)
    assert [one["rows"] for one in found["all"]] == [1, 2]
    assert all(one["tokens_per_second"] > 0 for one in found["all"])
    assert found["best"] in found["all"]
    assert (found["ratio"], found["holds"]) == (None, None)  # a CPU has no peak here


@pytest.mark.slow
def test_gradient_checkpointing_goes_the_same_way() -> None:
    tiny = ("--shape", "tiny", "--device", "cpu", "--length", "32", "--rows", "1", "--seconds", "0.1", "--compile", "off")
    assert last_line("benchmarks/train_gpu.py", *tiny, "--gradient-checkpointing")["best"]["checkpointed"]


@pytest.mark.slow
def test_the_dataset_benchmark_measures_both_sides() -> None:
    found = last_line("benchmarks/dataset.py", "--messages", "3000")
    assert (found["name"], found["bar"], found["memory_bar_mb"]) == ("dataset", 1.5, 1500)
    assert found["ratio"] > 0
    assert found["peak_mb"] > 0


@pytest.mark.slow
def test_the_collect_benchmark_measures_both_sides() -> None:
    found = last_line("benchmarks/collect.py", "--messages", "2000", "--contacts", "3", "--rounds", "1")
    assert (found["name"], found["bar"], found["messages"]) == ("collect", 0.9, 2000)
    assert found["ratio"] > 0


@pytest.mark.slow
def test_the_bot_benchmark_measures_both_sides() -> None:
    found = last_line("benchmarks/bot.py", "--updates", "20", "--chats", "5", "--rounds", "1", "--seconds", "2")
    assert (found["name"], found["bar"], found["added_bars_ms"]) == ("bot", 0.5, {"median": 15.0, "p99": 50.0})
    assert found["ratio"] > 0
    assert found["added_ms"]["count"] > 10
