"""Nights as `twin nightly` plays them: the first, one that goes on with what is new, and one of rubbish that is refused."""

from __future__ import annotations

import json
import os

import pytest
from cli_scene import twin
from nights_scene import Nights, say, shuffled, small_talk

from sandbox.samples import OWNER_ID

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_first_night_is_promoted_by_itself(first_night: Nights) -> None:
    (night,) = first_night.played
    assert (night["kind"], night["parent"]) == ("full", None)
    assert night["outcome"] == "promoted", night["line"]
    assert night["promoted"]
    assert first_night.failed() == []
    assert first_night.live() == night["adapter"], "nobody else made it live"
    assert [stage["name"] for stage in night["stages"]] == ["collect", "prepare", "dataset", "train", "evaluate", "promote"]


def test_the_next_goes_on_and_is_promoted_and_one_of_rubbish_is_refused(next_nights: Nights) -> None:
    first = next_nights.played[-1]
    say(next_nights.sandbox, small_talk(80, 15))
    second = next_nights.play()
    assert (second["kind"], second["new_messages"], second["parent"]) == ("incremental", 135, first["adapter"])
    assert second["mixture"]["new_targets"] > 20
    assert second["mixture"]["replay_tokens"] > 0
    assert second["outcome"] == "promoted", second["line"]
    assert next_nights.live() == second["adapter"]

    say(next_nights.sandbox, shuffled(small_talk(200, 25)))
    third = next_nights.play()
    assert (third["kind"], third["outcome"]) == ("incremental", "refused"), third["line"]
    assert next_nights.failed()
    assert next_nights.live() == second["adapter"], "the old one still answers"

    folders = sorted((next_nights.data / "runs").iterdir())
    kept = [json.loads((folder / "manifest.json").read_text()) for folder in folders]
    assert [night["outcome"] for night in kept] == ["promoted", "promoted", "refused"]
    assert all((folder / "card.png").stat().st_size > 10_000 for folder in folders)
    assert all((folder / "answers.json").stat().st_mode & 0o777 == 0o600 for folder in folders)


def test_one_that_waits_goes_live_by_hand_and_a_contact_who_withdraws_makes_it_begin_anew(
    next_nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWIN_SCHEDULE__AUTO_PROMOTE", "false")
    first = next_nights.played[-1]["adapter"]
    say(next_nights.sandbox, small_talk(80, 15))
    waiting = next_nights.play()
    assert (waiting["gate"]["passed"], waiting["outcome"]) == (True, "waiting"), waiting["line"]
    assert next_nights.live() == first
    next_nights.promote()
    assert next_nights.play()["outcome"] == "nothing new"
    assert next_nights.live() == waiting["adapter"]
    assert sorted(os.listdir(next_nights.data / "adapters")) == sorted([first, waiting["adapter"]])

    withdrawn = ("--consent", "revoked", "--words", "no more", "--yes", "--data", next_nights.data)
    assert twin("contacts", "Ada", *withdrawn).code == 0
    anew = next_nights.play()
    assert anew["kind"] == "full", "what must not be kept any more is not gone on from"
    manifest = json.loads((next_nights.data / "adapters" / anew["adapter"] / "manifest.json").read_text())
    assert OWNER_ID + 1 not in manifest["dialog_ids"]
