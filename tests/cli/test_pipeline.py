"""dataset -> train -> evaluate -> nightly on a model of two layers: every command, as a person would call them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from cli_scene import answers_for, doctor, keep_contact, on_store, running_sandbox, sign_in_code, start_twin, twin
from factories import chat, me, them
from worlds import save_small_talk

from twin.errors import TwinError
from twin.store import runs

TOPICS = ("tea", "rain", "train", "dog", "music", "work", "bread", "sea", "snow", "book", "car", "garden")


@pytest.fixture
def talked(data: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with two contacts who agreed and one who was not asked."""
    for dialog_id, name, consent in ((11, "Ada", True), (12, "Ben", True), (13, "Cleo", False)):
        said = []
        for i in range(42):
            topic = TOPICS[(i + dialog_id) % len(TOPICS)]
            said += [them(f"{topic} {i}?", after=30), me(f"{topic} {topic} {i}!")]
        keep_contact(data, dialog_id, name, chat(*said, dialog_id=dialog_id), consent=consent)
    monkeypatch.setenv("TWIN_DATA", str(data))
    monkeypatch.setenv("TWIN_MODEL__BASE", str(tiny))
    monkeypatch.setenv("TWIN_OWNER__NAME", "Olga")
    return data


@pytest.mark.slow
def test_from_messages_to_a_live_adapter(talked: Path) -> None:
    built = twin("dataset", "--json")
    assert built.code == 0, built.err
    assert built.err == "", "with --json nothing is said, unless something is wrong"
    report = built.document
    assert {row["dialog_id"]: row["left_out"] for row in report["contacts"]} == {11: None, 12: None, 13: "consent: never asked"}
    assert report["examples"]["train"] > 0
    assert report["tempo"]["total"]["replies"] == 126
    shown = twin("dataset", "--show", "1")
    assert "learned" in shown.out
    assert "How you answer" in shown.out
    assert "never asked" in shown.out
    assert twin("dataset", "--json").document["reused"]

    trained = twin("train", "--minutes", "0.02", "--json")
    assert trained.code == 0, trained.err
    name = trained.document["adapter"]
    assert (talked / "adapters" / name / "manifest.json").exists()
    assert on_store(talked, runs.newest).detail == {"adapter": name}

    evaluated = twin("evaluate", "--items", "5", "--json").document
    assert list(evaluated["figures"]) == ["base", name, "owner"]
    assert evaluated["states"] == {name: "candidate"}
    listed = twin("adapters", "--json").document["adapters"][0]
    assert listed["metrics"]["holdout"]["adapter"]["loss"] == evaluated["figures"][name]["loss"]
    assert "answers" not in listed["metrics"]["holdout"]["adapter"], "the words stay out of the metrics"
    side_by_side = twin("evaluate", name, "--items", "5", "--answers")
    assert "base model" in side_by_side.out
    assert twin("adapters", "promote", name).code == 0
    assert doctor()["adapter"]["colour"] == "green"


@pytest.mark.slow
def test_the_chat_answers_in_bubbles_from_a_pipe(talked: Path) -> None:
    ran = twin("chat", "--as-contact", "Ben", "--json", stdin="tea?\nrain?\n\n")
    assert ran.code == 0, ran.err
    assert ran.document["contact"] == "Ben"
    assert [turn["role"] for turn in ran.document["turns"]] == ["user", "assistant", "user", "assistant"]
    assert ran.document["turns"][0]["bubbles"] == ["tea?"]


@pytest.mark.slow
def test_ctrl_c_ends_a_training_and_the_next_call_goes_on(talked: Path) -> None:
    twin("dataset")
    process = start_twin("train", "--minutes", "5")
    assert process.stderr
    working = talked / "adapters"
    deadline = time.monotonic() + 120
    while not list(working.glob("*.training/*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    began_at = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - began_at < 5
    assert process.returncode == 130
    assert "Traceback" not in err
    assert on_store(talked, runs.newest).state == "cancelled"
    assert [path.name for path in working.glob("*.training")], "the checkpoint is kept"


@pytest.mark.slow
def test_a_night_needs_an_account_and_says_so(talked: Path) -> None:
    ran = twin("nightly", "--json")
    assert ran.code == 1
    assert "signed in" in ran.document["error"] or "SECRET_KEY" in ran.document["error"]
    run: Any = on_store(talked, runs.newest)
    assert (run.kind, run.state, run.stage) == ("nightly", "failed", "collect")


@pytest.mark.slow
def test_a_whole_night_against_a_telegram(tmp_path: Path, data: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_sandbox(tmp_path, save_small_talk(tmp_path / "world.json")) as sandbox:
        for name, value in answers_for(sandbox).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("TWIN_MODEL__BASE", str(tiny))
        process = start_twin("init", "--non-interactive", "--accept-terms", "--data", data, cwd=tmp_path, env=dict(os.environ))
        process.communicate(sign_in_code(sandbox) + "\n", timeout=60)
        assert twin("collect", "--json").document["new_messages"] == 360
        assert twin("contacts", "--all", "--consent", "given", "--words", "yes, do", "--yes").code == 0

        ran = twin("nightly", "--minutes", "0.05", "--json")

        assert ran.code == 0, ran.err + ran.out
        outcome = ran.document
        assert outcome["new_messages"] == 0
        assert set(outcome["figures"]) == {"base", outcome["adapter"], "owner"}
        assert outcome["figures"][outcome["adapter"]]["loss"] < outcome["figures"]["base"]["loss"]
        active = twin("adapters", "--json").document["active"]
        assert active == (outcome["adapter"] if outcome["promoted"] else None)
        assert outcome["adapter"] in outcome["line"]
        run = on_store(data, runs.newest)
        assert (run.kind, run.state, run.detail["adapter"]) == ("nightly", "done", outcome["adapter"])


@pytest.mark.slow
def test_the_bot_gets_a_nights_failure_as_one_line(talked: Path) -> None:
    from twin.cli.commands.run import _nightly
    from twin.cli.folder import open_folder, utc_now
    from twin.nights import Night

    with pytest.raises(TwinError, match=r"SECRET_KEY|signed in"):
        asyncio.run(_nightly(open_folder(None), Night(utc_now(), "owner")))
