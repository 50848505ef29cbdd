"""The demo, whole: real sockets, the real sample model, one person's chats, one approved reply."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cli_scene import start_twin, twin
from worlds import save_small_talk

from twin.cli.demo.sandbox import Sandbox
from twin.cli.demo.setting import MARK, ended_at, prepare_folder, settings_for
from twin.cli.demo.steps import Steps
from twin.cli.terminal import Screen
from twin.errors import InputError

OPTIONS = ("--minutes", "0.1", "--items", "5")
WHOLE = pytest.mark.timeout(900)  # the first of them plays it: real processes and the real model on a busy machine


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any], str]:
    """`twin demo --script` played once: world file, data folder, its document, its stderr."""
    folder = tmp_path_factory.mktemp("demo")
    world = save_small_talk(folder / "world.json")
    process = start_twin("demo", "--script", "--world", world, "--data", folder / "left", *OPTIONS)
    out, err = process.communicate(timeout=800)
    assert process.returncode == 0, err + out
    return world, folder / "left", json.loads(out), err


@WHOLE
@pytest.mark.slow
def test_the_script_ends_with_the_approved_reply_in_the_contacts_history(scripted: tuple[Path, Path, dict[str, Any], str]) -> None:
    _, _, document, err = scripted
    assert document["ok"]
    assert "".join(document["sent"]) in document["drafts"][-1].replace("\n", "")
    assert document["own_chats"]["auto"] in ("taken back", "held back")
    assert document["own_chats"] | {"auto": ""} == {"approve": True, "auto": "", "takeover": True}
    assert (document["owner"], document["engine"], document["messages"]) == (1, "local", 360)
    for figures in document["holdout"].values():
        assert {"loss", "context_choice", "distinct"} <= set(figures)
    assert [step["name"] for step in document["steps"]] == ["sandbox", "collect", "model", "dataset", "train", "evaluate", "bot", "story"]
    assert "left in all" in err
    assert "Traceback" not in err


@WHOLE
@pytest.mark.slow
def test_what_is_left_can_be_looked_at_with_every_other_command(
    scripted: tuple[Path, Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, left, document, _ = scripted
    monkeypatch.chdir(left)
    listed = twin("adapters", "--json").document
    assert listed["adapters"][0]["metrics"]["holdout"]["adapter"]["loss"] == document["holdout"]["adapter"]["loss"]
    assert listed["active"] == listed["adapters"][0]["name"]
    assert {row["consent"] for row in twin("contacts", "--json").document["contacts"]} == {"given"}
    assert (left / ".env").stat().st_mode & 0o777 == 0o600
    log = (left / "logs" / "twin.log").read_text()
    assert "draft." in log, "the bot has told what it did"
    assert not [text for text in (*document["sent"], "how is the tea", "SANDBOX-not-a-secret") if text and text in log]


@WHOLE
@pytest.mark.slow
def test_a_second_demo_reuses_what_is_sealed_and_ctrl_c_ends_it_in_five_seconds(
    scripted: tuple[Path, Path, dict[str, Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, left, first, _ = scripted
    manifests = {path: path.stat().st_mtime_ns for path in (*left.glob("adapters/*/manifest.json"), *left.glob("datasets/*/manifest.json"))}
    process = start_twin("demo", "--json", "--no-browser", "--world", world, "--data", left, *OPTIONS)
    assert process.stdout
    lines: list[str] = []
    while not lines or lines[-1] != "}\n":
        lines.append(process.stdout.readline())
        assert lines[-1], process.stderr and process.stderr.read()
    document = json.loads("".join(lines))
    assert document["holdout"] == first["holdout"]
    assert {path: path.stat().st_mtime_ns for path in manifests} == manifests
    children = descendants(process.pid)
    assert len(children) >= 2  # the sandbox and the bot

    began_at = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - began_at < 5
    assert process.returncode == 130
    assert err.endswith("Stopped.\n")
    assert "Traceback" not in err
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


def descendants(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in pairs if its_parent == parent]
    return found[1:]


def test_a_folder_of_somebodys_own_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        prepare_folder(tmp_path, owner=1, world="chitchat", fresh=True)
    assert (tmp_path / "letters").read_text() == "mine"


def test_a_second_demo_has_the_same_messages_at_the_same_times_and_a_fresh_one_new_ones(tmp_path: Path) -> None:
    mark = tmp_path / "demo" / MARK
    folder = prepare_folder(tmp_path / "demo", owner=1, world="chitchat", fresh=False)
    assert time.time() - 3700 < ended_at(folder) <= time.time() - 3600
    mark.write_text(json.dumps(json.loads(mark.read_text()) | {"ended_at": 1_700_000_000}))
    prepare_folder(folder, owner=1, world="chitchat", fresh=False)
    assert ended_at(folder) == 1_700_000_000
    prepare_folder(folder, owner=1, world="chitchat", fresh=True)
    assert ended_at(folder) > 1_700_000_000


def test_another_owners_demo_is_not_mixed_in_unless_started_anew(tmp_path: Path) -> None:
    folder = prepare_folder(tmp_path / "demo", owner=1, world="chitchat", fresh=False)
    (folder / "adapters" / "old").mkdir(parents=True)
    with pytest.raises(InputError, match="another owner"):
        prepare_folder(folder, owner=2, world="chitchat", fresh=False)
    prepare_folder(folder, owner=2, world="chitchat", fresh=True)
    assert not (folder / "adapters").exists()


def test_its_keys_stay_when_its_settings_are_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are while the server is running, which was started with the first ones."""
    monkeypatch.chdir(tmp_path)
    doors: dict[str, Any] = {"page": "", "bot_api": "http://127.0.0.1:9", "server": "127.0.0.1:9", "public_key": "", "child": None}
    sandbox = Sandbox(**doors, bot_id=2, bot_token="2:token", owner_id=1, owner_phone="99966", contact_ids=())
    first = settings_for(sandbox, tmp_path, engine="vllm", minutes=1, owner_name="Olga")
    again = settings_for(sandbox, tmp_path, engine="vllm", minutes=1, owner_name="Olga", engine_url="http://127.0.0.1:10")
    assert first.engine.api_key is not None
    assert first.engine.api_key == again.engine.api_key
    assert first.secret_key == again.secret_key
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0


def test_a_step_says_how_long_is_left_in_all(capsys: pytest.CaptureFixture[str]) -> None:
    steps = Steps(Screen(), {"one": ("First, slowly", 60.0), "two": ("Second", 120.0)})
    with steps.step("one") as progress:
        assert steps.left("one") == "about 3 min left in all"
        progress(1, 2)
        assert steps.left("one") == "about 2 min left in all"  # half of it took no time
        steps.expect("two", 600.0)
        assert steps.left("one") == "about 10 min left in all"
        steps.expect("two", 120.0)
    with steps.step("two"):
        pass
    told = capsys.readouterr().err.splitlines()
    assert told == ["1/2 First, slowly  about 3 min left in all", "2/2 Second  about 2 min left in all"]
    assert [step["name"] for step in steps.took] == ["one", "two"]


@pytest.mark.parametrize(("speed", "items"), [(10.0, 30), (150.0, 30), (300.0, 60), (900.0, 100)])
def test_a_slower_machine_compares_fewer_replies(speed: float, items: int) -> None:
    from twin.cli.commands.demo import _comparable

    assert _comparable(speed) == items


def test_a_desktop_is_where_there_is_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    from twin.cli.commands.demo import has_desktop

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not has_desktop()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert has_desktop()
