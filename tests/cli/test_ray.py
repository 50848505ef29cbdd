"""Training on a real Ray cluster, and what becomes of it when something breaks."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_scene import Head, Line, ray_head, until

from trainer.ray_cluster import RUNNING, STOPPED, UnknownJob, Unreachable
from twin.cli import launchers, ray_launcher
from twin.errors import NothingNew, TwinError
from twin.settings import Settings, load_settings

pytestmark = pytest.mark.slow
sys.path.insert(0, str(Path(__file__).parent.parent / "trainer"))


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with ray_head() as started:
        yield started


@pytest.fixture(scope="module")
def toy(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed dataset for `tiny`."""
    from dataset_scene import toy_dataset

    return toy_dataset(tmp_path_factory.mktemp("toy"), tiny)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def settings(head: Head, tiny: Path, data: Path, storage: Path) -> Settings:
    return settings_for(head.address, tiny, data, storage)


def settings_for(address: str, base: Path, data: Path, storage: Path) -> Settings:
    trainer = {"launcher": "ray", "ray_address": address, "storage": storage.as_uri()}
    return load_settings(None, data=data, trainer=trainer, model={"base": str(base)}, engine={"kind": "vllm"})


def training(data: Path, dataset: Path, base: Path, *, name: str = "first", parent: Path | None = None, **recipe: Any) -> dict[str, Any]:
    known = {"r": 4, "alpha": 8, "batch_tokens": 256, "epochs": 1, "generic": 0, "generic_path": None} | recipe
    out = data / "adapters" / name
    return {"dataset": str(dataset), "base": str(base), "out": str(out), "recipe": known, "parent": str(parent) if parent else None}


def quiet(event: dict[str, Any]) -> None:
    """For who does not listen."""


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_night_on_the_cluster(settings: Settings, toy: Path, tiny: Path, storage: Path, head: Head) -> None:
    """The adapter arrives sealed, and goes there again for its evaluation without being sent; nothing stays that is not used."""
    events: list[dict[str, Any]] = []
    order = training(settings.data, toy, tiny)
    out = Path(launchers.run(settings, "train", order, events.append))
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["name"] == "first"
    assert sorted(manifest["files"]) == sorted(path.name for path in out.iterdir() if path.name != "manifest.json")
    kinds = [event["event"] for event in events]
    assert kinds.count("estimate") == 1
    assert any("tokens/s" in event.get("note", "") for event in events)
    assert not (settings.data / "jobs" / "train.json").exists()
    assert "Running entrypoint" in (settings.data / "logs" / "train.log").read_text(), "what is no event is the log"
    names = [path.name for path in storage.rglob("*.json")]
    assert not [name for name in names if name.startswith(("result", "checkpoint"))]
    listed = "".join(path.read_text() for path in (storage / "folders").iterdir())
    assert "report.json" not in listed, "it has the contacts' names"

    written = set((storage / "files").iterdir())
    figures = launchers.run(
        settings,
        "evaluate",
        {
            "dataset": str(toy),
            "base": str(tiny),
            "adapters": [str(out)],
            "items": 5,
            "sampling": {"temperature": 0.0, "top_p": 0.9, "max_new_tokens": 4, "seed": 0},
            "generic": None,
            "cache": str(settings.data / "evaluations"),
        },
        events.append,
    )
    assert {"base", "first", "owner"} == set(figures)
    assert set((storage / "files").iterdir()) == written

    with pytest.raises(NothingNew):
        launchers.run(settings, "train", training(settings.data, toy, tiny, name="second", parent=out), events.append)
    assert launchers.run(settings, "train", order, quiet) == str(out), "made before: the cluster is not asked"


def test_a_killed_worker_is_told_and_the_next_try_goes_on_on_another_host(
    settings: Settings, toy: Path, tiny: Path, storage: Path, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_launcher, "CHECKPOINT_SECONDS", 0.2)
    order = training(settings.data, toy, tiny, epochs=40)
    noted = settings.data / "jobs" / "train.json"

    killed: list[str] = []

    def kill_at_a_checkpoint(event: dict[str, Any]) -> None:
        if not killed and (storage / "documents" / "checkpoint-first.json").exists():
            killed.append(json.loads(noted.read_text())["id"])
            head.job_process(killed[0]).kill()

    with pytest.raises(TwinError, match="exit code -9") as told:
        launchers.run(settings, "train", order, kill_at_a_checkpoint)
    assert "checkpoint" in told.value.mend
    assert not noted.exists()
    assert not (settings.data / "adapters").exists()

    shutil.rmtree(head.cache)  # as another host has it
    shares: list[float] = []
    launchers.run(settings, "train", order, lambda event: shares.append(event["done"]) if event.get("total") == 1.0 else None)
    assert shares[0] > 0.15, "validated, and so checkpointed, after a fifth"
    assert (settings.data / "adapters" / "first" / "manifest.json").exists()
    assert not list(storage.glob("documents/*"))


def test_a_lost_connection_is_given_up_in_words_and_the_same_job_is_followed_later(
    settings: Settings, toy: Path, tiny: Path, data: Path, storage: Path, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_launcher, "LOST_SECONDS", 1.0)
    monkeypatch.setattr(ray_launcher, "PAUSE_SECONDS", 0.2)
    order = training(data, toy, tiny, epochs=30)
    noted = data / "jobs" / "train.json"
    line = Line(head.address)
    try:
        far = settings_for(line.address, tiny, data, storage)

        def cut(event: dict[str, Any]) -> None:
            if "tokens/s" in event.get("note", ""):
                line.cut()

        with pytest.raises(Unreachable) as told:
            launchers.run(far, "train", order, cut)
        assert "goes on" in told.value.mend
        job_id = json.loads(noted.read_text())["id"]
        assert not head.cluster.answer(job_id).has_ended, "it goes on without us"

        line.mend()
        monkeypatch.setattr(ray_launcher, "LOST_SECONDS", 60.0)
        notes: list[str] = []

        def stumble(event: dict[str, Any]) -> None:
            notes.append(event.get("note", ""))
            if sum("tokens/s" in note for note in notes) == 2:
                line.cut()
                line.mend()

        launchers.run(far, "train", order, stumble)
    finally:
        line.close()
    assert any("the job that the cluster has" in note for note in notes)
    assert [job for job in head.jobs() if job == job_id or job.startswith("-".join(job_id.split("-")[:3]))] == [job_id]
    told_twice = [note for note in notes if "tokens/s" in note and notes.count(note) > 1]
    assert not told_twice, "what was read before the connection broke is not told again"
    assert (data / "adapters" / "first" / "manifest.json").exists()
    assert not noted.exists()


CALLING = """
import json, sys
from pathlib import Path
from twin.cli import launchers
from twin.settings import Settings
settings = Settings.model_validate_json(sys.argv[1])
print(launchers.run(settings, "train", json.loads(sys.argv[2]), lambda event: print(json.dumps(event), flush=True)))
"""


def call(settings: Settings, order: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CALLING, settings.model_dump_json(), json.dumps(order)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_training(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    for line in process.stdout:
        if "tokens/s" in line:
            return
    raise AssertionError(process.communicate()[1])


def test_ctrl_c_stops_the_job_and_a_kill_leaves_it_to_be_followed(
    settings: Settings, toy: Path, tiny: Path, data: Path, head: Head
) -> None:
    noted = data / "jobs" / "train.json"
    order = training(data, toy, tiny, epochs=60)
    killed = call(settings, order)
    wait_for_training(killed)
    killed.kill()
    killed.communicate()
    job_id = json.loads(noted.read_text())["id"]
    assert head.cluster.answer(job_id).status == RUNNING

    again = call(settings, order)
    wait_for_training(again)
    assert json.loads(noted.read_text())["id"] == job_id, "no second one"
    began = time.monotonic()
    again.send_signal(signal.SIGINT)
    _, err = again.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert time.monotonic() - began < 10
    assert not noted.exists()
    assert head.cluster.answer(job_id).status == STOPPED


def test_a_job_stopped_on_the_cluster_is_told_and_one_of_another_order_is_replaced(
    settings: Settings, toy: Path, tiny: Path, data: Path, head: Head
) -> None:
    noted = data / "jobs" / "train.json"

    def stop(event: dict[str, Any]) -> None:
        if noted.exists():
            head.cluster.stop(json.loads(noted.read_text())["id"])

    with pytest.raises(TwinError, match="was stopped on the cluster"):
        launchers.run(settings, "train", training(data, toy, tiny, epochs=50), stop)

    killed = call(settings, training(data, toy, tiny, epochs=50))
    until(lambda: noted.exists() and is_known(head, json.loads(noted.read_text())["id"]))
    killed.kill()
    killed.communicate()
    job_id = json.loads(noted.read_text())["id"]
    launchers.run(settings, "train", training(data, toy, tiny, name="other"), quiet)
    assert head.cluster.answer(job_id).status == STOPPED
    assert (data / "adapters" / "other" / "manifest.json").exists()


def is_known(head: Head, job_id: str) -> bool:
    try:
        return not head.cluster.answer(job_id).has_ended
    except UnknownJob:
        return False
