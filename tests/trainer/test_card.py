"""The picture of a night shows its figures and nobody's words."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from trainer.card import VERDICTS, draw_card

FIGURES = {"loss": 3.5, "anchor_loss": 3.6, "generic_loss": 1.9, "context_choice": 0.8, "distinct": 1.0, "style": 0.85}


def night(outcome: str, **more: Any) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "kind": "incremental",
        "parent": "a",
        "adapter": "b",
        "new_messages": 512,
        "mixture": {"new_targets": 187},
        "figures": {"base": FIGURES, "a": FIGURES, "b": FIGURES | {"loss": 3.4}, "owner": {"style": 0.95}},
        "curve": {"train": [(i, 3.6 - i / 100) for i in range(1, 30)], "validation": [(10, 3.5), (20, 3.4)]},
        **more,
    }


@pytest.mark.parametrize("outcome", VERDICTS)
def test_every_outcome_has_its_picture(tmp_path: Path, outcome: str) -> None:
    draw_card(tmp_path / "card.png", night(outcome))
    head = (tmp_path / "card.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:]) == (1200, 1280)


def test_a_first_night_has_only_the_base_model_beside_it(tmp_path: Path) -> None:
    first = night("promoted", parent=None, kind="full")
    del first["figures"]["a"]
    draw_card(tmp_path / "card.png", first)
    assert (tmp_path / "card.png").stat().st_size > 10_000


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    few = night("refused", curve={"train": [], "validation": []}, mixture=None)
    for figures in few["figures"].values():
        figures.pop("anchor_loss", None)
    draw_card(tmp_path / "card.png", few)
    assert (tmp_path / "card.png").stat().st_size > 10_000
