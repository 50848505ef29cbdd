"""What a GPU host does around a job: one at a time, and nothing of an earlier one stays."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest

from trainer import jobs, ray_job
from trainer.storage import Storage
from twin.errors import StoreError


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage((tmp_path / "storage").as_uri())


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    (folder / "adapters" / "old.training").mkdir(parents=True)
    return folder


def test_a_second_job_waits_before_it_tidies(storage: Storage, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is at its adapter still, which is none of the second's."""
    monkeypatch.setattr(ray_job, "TELL_SECONDS", 0.01)
    seen: list[tuple[str, bool]] = []
    held = (cache / "lock").open("a")
    fcntl.flock(held, fcntl.LOCK_EX)

    def tell(event: str, **more: Any) -> None:
        seen.append((more.get("note", event), (cache / "adapters" / "old.training").exists()))
        held.close()

    def perform(job: str, order: jobs.Order, tell: jobs.Tell, *, every: float) -> bool:
        tell("done", result={"seen": order["items"]})
        return True

    monkeypatch.setattr(jobs, "perform", perform)
    assert ray_job.work(storage, {"id": "1", "job": "build", "order": {"items": 5}, "checkpoint_seconds": 1.0}, tell, cache)
    assert seen == [("waiting for another job of this twin on the GPU host", True), ("done", False)]
    assert storage.read("result-1") == {"seen": 5}


def test_looking_reads_what_was_written_and_disturbs_no_training(storage: Storage, cache: Path) -> None:
    order = {"id": "look-1", "job": "look", "order": {}}
    with pytest.raises(StoreError, match="does not see"):
        ray_job.work(storage, order, print, cache)
    storage.write("look-1", 1)
    assert ray_job.work(storage, order, print, cache)
    assert storage.read("result-look-1") == {"missing": []}
    assert (cache / "adapters" / "old.training").exists()
