"""Two trainings of different data folders never share a card. The card is invented: a program called nvidia-smi lists it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.gpu_lock import one_card, used_card

HOLDING = """
import sys
from pathlib import Path
from trainer.gpu_lock import one_card
with one_card(lambda done, total, note="": print(note, flush=True), folder=Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two cards."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho '0, GPU-aaaa-1'\necho '1, GPU-bbbb-2'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def holder(folder: Path, **environment: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", HOLDING, str(folder)]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **environment})


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@pytest.mark.usefixtures("cards")
def test_the_second_waits_and_says_so_until_the_first_is_gone(tmp_path: Path) -> None:
    first, second, other = holder(tmp_path), None, None
    try:
        assert line(first) == "held"
        second = holder(tmp_path)
        assert "another training" in line(second)
        other = holder(tmp_path, CUDA_VISIBLE_DEVICES="1")
        assert line(other) == "held", "another card is free"
        first.kill()
        while (said := line(second)) != "held":
            assert "another training" in said
    finally:
        for process in (first, second, other):
            if process:
                process.kill()
                process.communicate()


@pytest.mark.usefixtures("cards")
@pytest.mark.parametrize(
    ("visible", "card"),
    [("1", "GPU-bbbb-2"), ("1,0", "GPU-bbbb-2"), ("GPU-aaaa", "GPU-aaaa-1"), ("MIG-x", "MIG-x"), ("", None), ("-1", None), ("7", None)],
)
def test_the_card_is_the_first_that_cuda_may_use(visible: str, card: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert used_card() == "GPU-aaaa-1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert used_card() == card


def test_without_a_card_there_is_nothing_to_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with one_card(folder=tmp_path), one_card(folder=tmp_path):
        assert list(tmp_path.iterdir()) == []
