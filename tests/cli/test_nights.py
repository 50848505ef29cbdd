"""Three nights as `twin nightly` plays them: the first, one that goes on with what is new, and one of rubbish that is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cli_scene import twin
from nights_scene import Nights, say, shuffled, small_talk

from sandbox.samples import OWNER_ID


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
    assert nights.failed()
    assert live(nights.data) == second["adapter"]

    folders = sorted((nights.data / "runs").iterdir())
    assert [json.loads((folder / "manifest.json").read_text())["outcome"] for folder in folders] == [
        "promoted",
        "promoted",
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
