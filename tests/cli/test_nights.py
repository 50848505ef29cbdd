"""Three nights as `twin nightly` plays them: the first, one that goes on with what is new, and one of rubbish that is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cli_scene import answers_for, running_sandbox, twin
from nights_scene import Said, say, settle, shuffled
from worlds import NAMES, TOPICS, save_small_talk

from sandbox.samples import OWNER_ID

ITEMS = 40


@dataclass
class Nights:
    sandbox: dict[str, Any]
    data: Path
    played: list[dict[str, Any]]

    def play(self, *more: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "twin", "nightly", "--json", "--items", str(ITEMS), "--data", str(self.data), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
        assert done.returncode == 0, done.stderr + done.stdout
        self.played.append(json.loads(done.stdout))
        return self.played[-1]

    def failed(self) -> list[str]:
        return [check["name"] for check in self.played[-1]["gate"]["checks"] if not check["holds"]]


@pytest.fixture
def nights(tmp_path: Path, data: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nights]:
    """A Telegram with small talk in it, the owner signed in, everybody agreed."""
    with running_sandbox(tmp_path, save_small_talk(tmp_path / "world.json", questions=80, days_between=2)) as sandbox:
        recipe = {"R": "8", "ALPHA": "16", "LEARNING_RATE": "1e-2", "BATCH_TOKENS": "256", "EPOCHS": "4"}
        engine = {"TEMPERATURE": "0.3", "MAX_NEW_TOKENS": "16"}
        settings = answers_for(sandbox) | {f"TWIN_TRAINING__{name}": value for name, value in recipe.items()}
        settings |= {f"TWIN_ENGINE__{name}": value for name, value in engine.items()}
        for name, value in (
            settings | {"TWIN_MODEL__BASE": str(tiny), "TWIN_DATASET__REPEAT_CAP": "500", "TWIN_DATASET__ANCHOR_FRACTION": "0.2"}
        ).items():
            monkeypatch.setenv(name, value)
        settle(sandbox, data, tmp_path)
        yield Nights(sandbox, data, [])


def small_talk(first: int, count: int) -> list[Said]:
    """More of what the world has."""
    said = []
    for i in range(first, first + count):
        for place in range(len(NAMES) - 1):
            topic, contact = TOPICS[(i * 5 + place) % len(TOPICS)], OWNER_ID + 1 + place
            said.append(Said(contact, OWNER_ID, f"how is the {topic} {i}?"))
            said += [Said(OWNER_ID, contact, text) for text in (f"the {topic} is fine", f"and {i} is a number")]
    return said


def live(data: Path) -> str | None:
    name: str | None = twin("adapters", "--json", "--data", data).document["active"]
    return name


@pytest.mark.slow
def test_the_first_the_next_and_one_of_rubbish(nights: Nights) -> None:
    first = nights.play()
    assert (first["kind"], first["outcome"], first["parent"]) == ("full", "promoted", None), first["line"]
    assert live(nights.data) == first["adapter"]

    say(nights.sandbox, small_talk(80, 15))
    second = nights.play()
    assert (second["kind"], second["outcome"]) == ("incremental", "promoted"), second["line"]
    assert (second["new_messages"], second["parent"]) == (135, first["adapter"])
    assert second["mixture"]["new_targets"] > 20
    assert second["mixture"]["replay_tokens"] > 0
    assert live(nights.data) == second["adapter"]

    say(nights.sandbox, shuffled(small_talk(200, 25)))
    third = nights.play()
    assert (third["kind"], third["outcome"]) == ("incremental", "refused"), third["line"]
    assert "anchor_loss" in nights.failed()
    assert live(nights.data) == second["adapter"]

    assert nights.play()["outcome"] == "refused", "the same once more is the same"
    folders = sorted((nights.data / "runs").iterdir())
    assert [json.loads((folder / "manifest.json").read_text())["outcome"] for folder in folders] == [
        "promoted",
        "promoted",
        "refused",
        "refused",
    ]
    assert all((folder / "card.png").stat().st_size > 10_000 for folder in folders)
    assert all((folder / "answers.json").stat().st_mode & 0o777 == 0o600 for folder in folders)


@pytest.mark.slow
def test_without_auto_promotion_it_waits_and_nothing_new_is_said(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_SCHEDULE__AUTO_PROMOTE", "false")
    waiting = nights.play()
    assert waiting["outcome"] == "waiting", waiting["line"]
    assert live(nights.data) is None
    assert twin("adapters", "promote", waiting["adapter"], "--data", nights.data).code == 0
    again = nights.play()
    assert again["outcome"] == "nothing new"
    assert live(nights.data) == waiting["adapter"]
    assert os.listdir(nights.data / "adapters") == [waiting["adapter"]]


@pytest.mark.slow
def test_a_contact_who_withdraws_is_a_reason_to_begin_with_the_base_model(nights: Nights) -> None:
    first = nights.play()
    assert twin("adapters", "promote", first["adapter"], "--data", nights.data).code == 0
    assert twin("contacts", "Ada", "--consent", "revoked", "--words", "no more", "--yes", "--data", nights.data).code == 0
    second = nights.play()
    assert second["kind"] == "full"
    manifest = json.loads((nights.data / "adapters" / second["adapter"] / "manifest.json").read_text())
    assert OWNER_ID + 1 not in manifest["dialog_ids"]
