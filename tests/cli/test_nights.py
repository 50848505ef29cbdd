"""Three nights as `twin nightly` plays them: the first, one that goes on with what is new, and one of rubbish that is refused."""

from __future__ import annotations

import json
import os

import pytest
from cli_scene import twin
from nights_scene import Nights, say, shuffled, small_talk

from sandbox.samples import OWNER_ID


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_first_the_next_and_one_of_rubbish(nights: Nights) -> None:
    first = nights.play_and_promote()
    assert (first["kind"], first["parent"]) == ("full", None)

    say(nights.sandbox, small_talk(80, 15))
    second = nights.play_and_promote()
    assert (second["kind"], second["new_messages"], second["parent"]) == ("incremental", 135, first["adapter"])
    assert second["mixture"]["new_targets"] > 20
    assert second["mixture"]["replay_tokens"] > 0

    say(nights.sandbox, shuffled(small_talk(200, 25)))
    third = nights.play()
    assert (third["kind"], third["outcome"]) == ("incremental", "refused"), third["line"]
    assert nights.failed()
    assert nights.live() == second["adapter"], "the old one still answers"

    folders = sorted((nights.data / "runs").iterdir())
    kept = [json.loads((folder / "manifest.json").read_text()) for folder in folders]
    assert [night["outcome"] for night in kept] == [night["outcome"] for night in nights.played]
    assert all((folder / "card.png").stat().st_size > 10_000 for folder in folders)
    assert all((folder / "answers.json").stat().st_mode & 0o777 == 0o600 for folder in folders)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_new_is_said_and_a_contact_who_withdraws_makes_it_begin_anew(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_SCHEDULE__AUTO_PROMOTE", "false")
    waiting = nights.play()
    assert waiting["outcome"] == ("waiting" if waiting["gate"]["passed"] else "refused")
    assert nights.live() is None
    assert twin("adapters", "promote", waiting["adapter"], "--data", nights.data).code == 0
    again = nights.play()
    assert again["outcome"] == "nothing new"
    assert nights.live() == waiting["adapter"]
    assert os.listdir(nights.data / "adapters") == [waiting["adapter"]]

    assert twin("contacts", "Ada", "--consent", "revoked", "--words", "no more", "--yes", "--data", nights.data).code == 0
    anew = nights.play()
    assert anew["kind"] == "full", "what must not be kept any more is not gone on from"
    manifest = json.loads((nights.data / "adapters" / anew["adapter"] / "manifest.json").read_text())
    assert OWNER_ID + 1 not in manifest["dialog_ids"]
