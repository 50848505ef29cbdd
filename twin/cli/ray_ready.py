"""Whether the Ray cluster can be used for a night: asked before one starts, and thoroughly by `twin doctor`."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from importlib.metadata import version
from secrets import token_hex
from typing import Any

from trainer.ray_cluster import Cluster
from trainer.ray_job import LOOK, result_name
from trainer.storage import Storage
from twin.cli import ray_launcher
from twin.cli.ray_orders import open_storage
from twin.errors import TwinError
from twin.progress import Progress, silent
from twin.settings import Settings

PATIENCE_SECONDS = 60.0  # a host that is being restarted; a wrong address is told after that
DOCTOR_SECONDS = 60.0  # a job needs about 5
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Found:
    hosts: int
    gpus: float
    missing: list[str]  # what training needs and the host that took the job has not


def check(settings: Settings, progress: Progress = silent, *, patience: float | None = None) -> tuple[Storage, Cluster]:
    """The settings, the storage from this side, the cluster's answer and its version. Raises TwinError."""
    storage, cluster = open_storage(settings), ray_launcher.open_cluster(settings)
    storage.check()
    theirs, ours = ray_launcher.patiently(cluster.version, progress, PATIENCE_SECONDS if patience is None else patience), version("ray")
    if theirs != ours:
        mend = f"Install ray[default]=={ours} there, and start it again with deploy/ray/node.sh."
        raise TwinError(f"The cluster at {cluster.address} runs Ray {theirs}, this host has {ours}.", mend=mend)
    return storage, cluster


def look(settings: Settings) -> Found:
    """`check`, and a small job that reads there what was written into the storage here, and answers through it. Raises TwinError."""
    storage, cluster = check(settings, patience=0.0)
    job_id = f"twin-look-{token_hex(6)}"
    storage.write(job_id, job_id)
    try:
        answer = _ask(storage, cluster, job_id)
    finally:
        storage.remove(job_id)
        storage.remove(result_name(job_id))
    return Found(len(cluster.nodes()), cluster.gpus(), answer["missing"])


def _ask(storage: Storage, cluster: Cluster, job_id: str) -> dict[str, Any]:
    order = {"id": job_id, "job": LOOK, "order": {}}
    cluster.submit(job_id, ray_launcher.command(storage, order), gpus=0)
    deadline = time.monotonic() + DOCTOR_SECONDS
    while True:
        answer = cluster.answer(job_id)
        result = storage.read(result_name(job_id))  # after that: a job that has ended has written it
        if result is not None:
            return dict(result)
        if answer.has_ended:
            raise _failed(cluster, job_id)
        if time.monotonic() > deadline:
            cluster.stop(job_id)
            mend = "Is every core taken? `ray status` on one of its hosts tells."
            raise TwinError(f"The cluster did not do a small job within {DOCTOR_SECONDS:.0f} s ({answer.status.lower()}).", mend=mend)
        time.sleep(LOOK_SECONDS)


def _failed(cluster: Cluster, job_id: str) -> TwinError:
    """What the job said, or else how Ray tells its end."""
    try:
        answer = ray_launcher.follow(cluster, job_id, lambda event: None, log := io.StringIO())
    except TwinError as exc:
        return exc
    said = [line for line in log.getvalue().splitlines() if line.strip()][-1:] or [answer.message]
    return TwinError(f"A small job fails on the cluster: {said[0][:300]}", mend="Is the twin with its extra [train] installed there?")
