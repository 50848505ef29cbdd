"""Training on a real Ray cluster, and what becomes of it when something breaks."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_scene import without_torch
from nights_scene import Nights
from ray_scene import Head, Line, ray_head, until

from trainer.base_model import SAMPLE
from trainer.ray_cluster import RUNNING, STOPPED, UnknownJob, Unreachable
from trainer.storage import Storage
from twin.cli import checks, launchers, ray_launcher, ray_ready, stages
from twin.errors import SettingsError, TwinError
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
    return settings_for(head, tiny, data, storage)


def settings_for(head: Head, base: Path | str, data: Path, storage: Path, address: str | None = None) -> Settings:
    trainer = {"launcher": "ray", "ray_address": address or head.address, "ray_token": head.token, "storage": storage.as_uri()}
    return load_settings(None, data=data, trainer=trainer, model={"base": str(base)}, engine={"kind": "vllm"})


def training(data: Path, dataset: Path, base: Path, *, name: str = "first", parent: Path | None = None, **recipe: Any) -> dict[str, Any]:
    known = {"r": 4, "alpha": 8, "batch_tokens": 256, "epochs": 1, "generic": 0, "generic_path": None} | recipe
    out = data / "adapters" / name
    return {"dataset": str(dataset), "base": str(base), "out": str(out), "recipe": known, "parent": str(parent) if parent else None}


def quiet(event: dict[str, Any]) -> None:
    """For who does not listen."""


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_night_of_a_host_without_torch(
    nights: Nights, tiny: Path, storage: Path, head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`twin nightly`, where torch cannot be imported: the cluster trains and evaluates, and nothing stays there that is not used."""
    trainer = {"LAUNCHER": "ray", "RAY_ADDRESS": head.address, "RAY_TOKEN": head.token, "STORAGE": storage.as_uri()}
    for name, value in trainer.items():
        monkeypatch.setenv(f"TWIN_TRAINER__{name}", value)
    monkeypatch.setenv("TWIN_ENGINE__KIND", "vllm")
    monkeypatch.setenv("TWIN_SCHEDULE__AUTO_PROMOTE", "false")
    monkeypatch.setenv("TWIN_TRAINING__EPOCHS", "1")
    monkeypatch.setenv("PYTHONPATH", without_torch(tmp_path)["PYTHONPATH"])
    refused = subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, text=True, check=False)
    assert "No module named 'torch'" in refused.stderr

    night = nights.play_apart("--items", "10")
    assert night["outcome"] == ("waiting" if night["gate"]["passed"] else "refused")
    out = nights.data / "adapters" / night["adapter"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(manifest["files"]) == sorted(path.name for path in out.iterdir() if path.name != "manifest.json")
    assert {"base", night["adapter"], "owner"} == set(night["figures"])
    assert not list((nights.data / "jobs").glob("*.json"))
    assert "Running entrypoint" in (nights.data / "logs" / "train.log").read_text(), "what is no event is the log"
    assert not list((storage / "documents").iterdir()), "no result, no checkpoint"
    listed = "".join(path.read_text() for path in (storage / "folders").iterdir())
    assert "report.json" not in listed, "it has the contacts' names"


def test_doctor_has_a_job_read_what_it_wrote(settings: Settings, storage: Path, head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    found = checks.cluster(settings)
    assert (found.colour, found.what) == (
        "green",
        f"1 at {head.address}, without a GPU: they train on their CPUs; they share {storage.as_uri()}",
    )
    assert not list((storage / "documents").iterdir())

    monkeypatch.setattr(Storage, "write", lambda self, name, document: None)  # as if it went elsewhere than where the job looks
    monkeypatch.setattr(Storage, "check", lambda self: None)
    apart = checks.cluster(settings)
    assert (apart.colour, apart.what) == ("red", f"The GPU host does not see what the bot's host writes to {storage.as_uri()}.")
    monkeypatch.setattr(ray_ready, "version", lambda name: "2.0.0")
    assert "this host has 2.0.0" in checks.cluster(settings).what


@pytest.mark.parametrize("token", [None, "0" * 64], ids=["none", "wrong"])
def test_nobody_is_heard_without_the_token(head: Head, storage: Path, data: Path, token: str | None) -> None:
    trainer = {"launcher": "ray", "ray_address": head.address, "ray_token": token, "storage": storage.as_uri()}
    with pytest.raises(SettingsError, match=r"refuses this host.*TWIN_TRAINER__RAY_TOKEN"):
        launchers.check(load_settings(None, data=data, trainer=trainer))


def test_the_base_model_is_prepared_there_and_comes_back_without_its_weights(
    head: Head, storage: Path, data: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWIN_MODELS", str(tmp_path / "models"))
    base = stages.prepare_base_apart(settings_for(head, SAMPLE, data, storage), lambda done, total, note="": None)
    assert base.is_relative_to(tmp_path)
    assert "tokenizer.json" in files_in(base)
    assert not list(tmp_path.rglob("*.safetensors"))


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
        far = settings_for(head, tiny, data, storage, line.address)

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
from twin.settings import load_settings
settings = load_settings(None, **json.loads(sys.argv[1]))
print(launchers.run(settings, "train", json.loads(sys.argv[2]), lambda event: print(json.dumps(event), flush=True)))
"""


def given(settings: Settings) -> str:
    token = settings.trainer.ray_token
    trainer = settings.trainer.model_dump(mode="json") | {"ray_token": token.get_secret_value() if token else None}
    return json.dumps({"data": str(settings.data), "trainer": trainer, "model": {"base": settings.model.base}, "engine": {"kind": "vllm"}})


def call(settings: Settings, order: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CALLING, given(settings), json.dumps(order)]
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
    again.send_signal(signal.SIGINT)
    _, err = again.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert not noted.exists()
    assert head.cluster.answer(job_id).status == STOPPED


def test_a_job_of_another_order_is_replaced_and_one_that_is_stopped_on_the_cluster_is_told(
    settings: Settings, toy: Path, tiny: Path, data: Path, head: Head
) -> None:
    noted = data / "jobs" / "train.json"
    killed = call(settings, training(data, toy, tiny, epochs=50))
    until(lambda: noted.exists() and is_known(head, json.loads(noted.read_text())["id"]))
    killed.kill()
    killed.communicate()
    old = json.loads(noted.read_text())["id"]

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "progress" and noted.exists() and json.loads(noted.read_text())["id"] != old:
            head.cluster.stop(json.loads(noted.read_text())["id"])

    with pytest.raises(TwinError, match="was stopped on the cluster"):
        launchers.run(settings, "train", training(data, toy, tiny, name="other", epochs=50), stop)
    assert head.cluster.answer(old).status == STOPPED
    assert not noted.exists()


def is_known(head: Head, job_id: str) -> bool:
    try:
        return not head.cluster.answer(job_id).has_ended
    except UnknownJob:
        return False
