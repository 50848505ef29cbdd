"""Where a heavy job runs, and how it stands back there; what the bot's host needs for it."""

from __future__ import annotations

import http.server
import io
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_scene import doctor, keep_contact, twin, without_torch
from factories import chat, me, them

from trainer.ray_cluster import Answer, UnknownJob, Unreachable
from twin.cli import launchers, ray_launcher, ray_ready
from twin.errors import InputError, NothingNew, SettingsError, StoreError, TwinError
from twin.settings import Settings, load_settings

Event = dict[str, Any]


def settings_for(data: Path, **groups: Any) -> Settings:
    return load_settings(None, data=data, **groups)


def quiet(event: Event) -> None:
    """For who does not listen."""


# --- on this host -----------------------------------------------------------------------------------------------------


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that stands for `python -m twin.cli.worker`, so that a test can say what a job does."""
    from twin.cli import children

    program = tmp_path / "job.py"
    monkeypatch.setattr(children, "python", lambda module, *arguments: [sys.executable, str(program), *arguments])
    return program


def test_a_job_stands_back_by_the_niceness_of_the_settings(data: Path, jobs: Path) -> None:
    jobs.write_text('import json, os; print(json.dumps({"event": "done", "result": os.nice(0)}))')
    here = os.nice(0)
    for niceness in (0, 7):
        assert launchers.run(settings_for(data, trainer={"niceness": niceness}), "train", {}, quiet) == min(19, here + niceness)


def test_what_a_job_says_reaches_the_listener_and_what_it_raises_is_raised_here(data: Path, jobs: Path) -> None:
    error = {"event": "error", "type": "NothingNew", "what": "All known.", "mend": "Wait."}
    jobs.write_text(f"import json; print(json.dumps({{'event': 'progress'}})); print(json.dumps({error!r}))")
    heard: list[Event] = []
    with pytest.raises(NothingNew, match=r"All known\. Wait\."):
        launchers.run(settings_for(data), "train", {}, heard.append)
    assert heard == [{"event": "progress"}]


def test_a_job_that_dies_is_told_with_its_log(data: Path, jobs: Path) -> None:
    jobs.write_text("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(TwinError, match="exit code -9") as told:
        launchers.run(settings_for(data), "train", {}, quiet)
    assert str(data / "logs" / "train.log") in told.value.mend


def test_a_build_and_what_the_local_engine_needs_stay_here(data: Path, jobs: Path, tmp_path: Path) -> None:
    """Neither a cluster nor a storage is there."""
    jobs.write_text('print(\'{"event": "done", "result": 1}\')')
    ray = {"launcher": "ray", "ray_address": "http://127.0.0.1:9", "storage": tmp_path.as_uri()}
    assert launchers.run(settings_for(data, trainer=ray), "build", {}, quiet) == 1
    assert launchers.run(settings_for(data, trainer=ray), "prepare", {}, quiet) == 1
    with pytest.raises(SettingsError, match="needs a storage"):
        launchers.run(settings_for(data, trainer={"launcher": "ray"}), "train", {"out": str(tmp_path / "out")}, quiet)


@pytest.mark.slow
def test_the_bots_host_builds_names_and_judges_without_torch(data: Path, tiny: Path, tmp_path: Path) -> None:
    """With the tokenizer's files alone, as they come back from the cluster; the build runs as a job, in its own process."""
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    for path in tiny.iterdir():
        if path.suffix != ".safetensors":
            (tokenizer / path.name).write_bytes(path.read_bytes())
    said = [line for i in range(42) for line in (them(f"tea {i}?", after=30), me(f"tea tea {i}!"))]
    keep_contact(data, 11, "Ada", chat(*said, dialog_id=11), consent=True)
    code = """
import json, sys
from pathlib import Path
from twin.cli import launchers, stages
from twin.settings import load_settings
settings = load_settings(None, data=Path(sys.argv[1]), trainer={"launcher": "ray"}, engine={"kind": "vllm"})
report = stages.build(settings, Path(sys.argv[2]), lambda done, total, note="": None)
from trainer.train import adapter_name
from trainer.gate import judge
from trainer import card
try:
    import torch
except ModuleNotFoundError:
    print(json.dumps([report.examples["train"], adapter_name(report.path, Path(sys.argv[2]), settings.training)]))
"""
    command = [sys.executable, "-c", code, str(data), str(tokenizer)]
    done = subprocess.run(command, capture_output=True, text=True, env=without_torch(tmp_path), timeout=120)
    assert done.returncode == 0, done.stderr + ((data / "logs" / "build.log").read_text() if (data / "logs" / "build.log").exists() else "")
    examples, name = json.loads(done.stdout)
    assert examples > 0
    assert len(name) == 17


# --- before a night starts ------------------------------------------------------------------------------------------

REFUSED_SETTINGS = {
    "needs a storage": {"storage": None},
    "is no absolute path": {"storage": "file://srv/twin"},
    "is no absolute path: twin": {"storage": "twin"},
    "TWIN_TRAINER__STORAGE cannot be used": {"storage": "nowhere://twin"},
    "is no address of a Ray cluster": {"ray_address": "10.0.0.1:8265"},
    "does not answer": {"ray_address": "http://127.0.0.1:9"},
}


@pytest.mark.parametrize("said", REFUSED_SETTINGS)
def test_settings_for_a_cluster_that_cannot_work_are_told_before_anything_begins_and_by_doctor(
    said: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_ready, "PATIENCE_SECONDS", 0.0)
    wrong = {"launcher": "ray", "storage": (tmp_path / "storage").as_uri()} | REFUSED_SETTINGS[said]
    for name, value in wrong.items():
        if value:
            monkeypatch.setenv(f"TWIN_TRAINER__{name.upper()}", value)
    check = doctor("--data", data)["GPU hosts"]
    assert check["colour"] == "red"
    assert said in check["what"]
    assert check["mend"]
    ran = twin("nightly", "--json", "--data", data)
    assert ran.code == 1
    assert said in ran.document["error"]
    assert not (data / "datasets").exists()


class Door(http.server.BaseHTTPRequestHandler):
    """Of a cluster with a token: says its version to who has it."""

    def do_GET(self) -> None:
        token = self.headers.get("Authorization")
        self.send_response(401 if token is None else 200 if token == "Bearer right" else 403)
        self.end_headers()
        self.wfile.write(b'{"ray_version": "1.2.3"}')

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.mark.parametrize(
    ("token", "said"),
    [(None, "refuses this host.*TWIN_TRAINER__RAY_TOKEN"), ("wrong", "refuses this host"), ("right", r"runs Ray 1\.2\.3, this host has 2")],
)
def test_the_token_and_the_version_are_looked_at(data: Path, tmp_path: Path, token: str | None, said: str) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door) as door:
        threading.Thread(target=door.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{door.server_port}"
        ray = {"launcher": "ray", "ray_address": address, "ray_token": token, "storage": (tmp_path / "storage").as_uri()}
        try:
            with pytest.raises(TwinError, match=said):
                launchers.check(settings_for(data, trainer=ray))
        finally:
            door.shutdown()


def test_a_storage_that_nobody_can_write_is_told(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ray = {"launcher": "ray", "storage": (tmp_path / "file" / "storage").as_uri()}
    with pytest.raises(StoreError, match=r"cannot be used .* Check TWIN_TRAINER__STORAGE"):
        launchers.check(settings_for(data, trainer=ray))


# --- following a job on a cluster -------------------------------------------------------------------------------------


class FakeTail:
    def __init__(self, lines: Sequence[str | None]) -> None:
        self._lines = iter(lines)

    def line(self, seconds: float) -> str | None:
        try:
            return next(self._lines)
        except StopIteration:
            raise queue.Empty from None

    def __enter__(self) -> FakeTail:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""


class FakeCluster:
    """Gives the tails one after the other, and the answers; the last of each for ever. An exception in the list is raised."""

    address = "http://cluster"

    def __init__(self, tails: Sequence[Sequence[str | None]], answers: Sequence[Answer | Exception], log: Sequence[str] = ()) -> None:
        self._tails, self._answers, self._log = list(tails), list(answers), list(log)
        self.asked = 0

    def tail(self, job_id: str) -> FakeTail:
        return FakeTail(self._tails.pop(0) if len(self._tails) > 1 else self._tails[0])

    def answer(self, job_id: str) -> Answer:
        self.asked += 1
        given = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(given, Exception):
            raise given
        return given

    def log(self, job_id: str) -> list[str]:
        return self._log


RUNNING, WAITING = Answer("RUNNING", "", None), Answer("PENDING", "", None)
DONE, KILLED = Answer("SUCCEEDED", "", 0), Answer("FAILED", "", -9)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("PAUSE_SECONDS", "LOST_SECONDS"):
        monkeypatch.setattr(ray_launcher, name, 0.01)
    return


def event(number: int) -> str:
    return f'@twin {{"event": "progress", "done": {number}, "total": 9, "note": ""}}'


def follow(cluster: FakeCluster) -> tuple[Answer, list[Event], str]:
    heard: list[Event] = []
    log = io.StringIO()
    return ray_launcher.follow(cluster, "job", heard.append, log), heard, log.getvalue()  # type: ignore[arg-type]


@pytest.mark.usefixtures("impatient")
def test_a_line_that_breaks_again_and_again_tells_everything_once() -> None:
    lines = ["Running", event(1), "torch warns", event(2), '@twin {"event": "alive"}', event(3)]
    tails = [[*lines[:count], None] for count in (2, 0, 3, 5)]
    answer, heard, log = follow(FakeCluster(tails, [RUNNING, RUNNING, RUNNING, DONE], log=lines))
    assert answer == DONE
    assert [one["done"] for one in heard] == [1, 2, 3]
    assert log == "Running\ntorch warns\n\n"


@pytest.mark.usefixtures("impatient")
def test_waiting_for_a_place_is_told() -> None:
    answer, heard, _ = follow(FakeCluster([[]], [WAITING, RUNNING, KILLED]))
    assert answer == KILLED
    assert ["free place" in one["note"] for one in heard] == [True]


@pytest.mark.usefixtures("impatient")
def test_a_cluster_that_stays_away_is_given_up_and_one_that_forgot_the_job_at_once() -> None:
    with pytest.raises(Unreachable, match=r"Tried for .* the same command follows it"):
        follow(FakeCluster([[None]], [Unreachable("Nobody.", mend="Look.")]))
    forgetful = FakeCluster([[None]], [UnknownJob("Unknown.")])
    with pytest.raises(UnknownJob):
        follow(forgetful)
    assert forgetful.asked == 1


@pytest.mark.usefixtures("impatient")
def test_a_job_that_says_it_is_done_is_done_and_half_an_event_is_a_line_of_the_log() -> None:
    cluster = FakeCluster([['@twin {"event": "pro', event(1), '@twin {"event": "done"}', event(2)]], [RUNNING])
    answer, heard, log = follow(cluster)
    assert (answer.status, cluster.asked) == ("SUCCEEDED", 0)
    assert [one["done"] for one in heard] == [1]
    assert log == '@twin {"event": "pro\n'


@pytest.mark.usefixtures("impatient")
def test_what_ray_says_of_a_lost_job_is_in_the_log() -> None:
    answer, _, log = follow(FakeCluster([[None]], [Answer("FAILED", "Its node died.", None)]))
    assert (answer.status, log) == ("FAILED", "Its node died.\n")


@pytest.mark.usefixtures("impatient")
def test_what_the_job_raised_is_raised_here() -> None:
    said = json.dumps({"event": "error", "type": InputError.__name__, "what": "No rows.", "mend": "Build."})
    with pytest.raises(TwinError, match=r"No rows\. Build\."):
        follow(FakeCluster([[f"@twin {said}"]], [RUNNING]))
