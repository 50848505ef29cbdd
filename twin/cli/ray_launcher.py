"""The heavy jobs on a Ray cluster of GPU hosts: what a job needs goes into the storage, what it made comes back out of it.

    data/jobs/<job>.json   {"id", "address", "order"}: written before the job is submitted, gone when it has ended

So a night that is started again finds the job of the one before, and follows it instead of submitting a second; a job whose
order has changed meanwhile is stopped. Losing the connection loses nothing: the log is read again from where it was. Ctrl-C
stops the job on the cluster.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex
from typing import IO, Any, TypeVar

from trainer.base_model import folder_name
from trainer.ray_cluster import DONE, STOPPED, WAITING, Answer, Cluster, UnknownJob, Unreachable
from trainer.ray_job import CHECKPOINT_SECONDS, MARK, checkpoint_name
from trainer.storage import Storage
from twin.cli.launchers import Listener, error_of
from twin.errors import SettingsError, StoreError, TwinError
from twin.progress import Progress
from twin.sealing import write_private
from twin.settings import Settings

Result = TypeVar("Result")

LOST_SECONDS = 600.0  # so long nobody answers before it is given up
LOOK_SECONDS = 5.0  # of silence before the cluster is asked how the job is
SILENT_SECONDS = 60.0  # four times trainer.ray_job.ALIVE_SECONDS: the line is dead, and is made anew
PAUSE_SECONDS = 2.0
STOP_SECONDS = 4.0
ON_A_GPU = frozenset({"train", "evaluate"})
PRIVATE = ("report.json",)  # of a dataset: names of contacts, which no training needs


@dataclass(frozen=True)
class Submitted:
    id: str
    address: str
    order: str  # digest


def run(settings: Settings, job: str, order: dict[str, Any], on_event: Listener) -> Any:
    """Do a job of trainer.jobs on the cluster and return its result. Raises TwinError."""
    if made := _made_before(settings, job, order):
        return made
    storage, cluster = Storage(storage_url(settings)), Cluster(settings.trainer.ray_address)
    noted = settings.data / "jobs" / f"{job}.json"
    log = settings.data / "logs" / f"{job}.log"
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    progress = progress_to(on_event)
    wanted, folders = send(settings, storage, order, progress)
    try:
        submitted = _submitted(cluster, storage, job, wanted, folders, noted, progress)
        with os.fdopen(os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            answer = follow(cluster, submitted.id, on_event, file)
        if answer.status != DONE:
            raise _ended(job, answer, log)
        result = fetch(settings, storage, job, order, submitted.id, progress)
    except (Unreachable, StoreError):
        raise  # the job may be well: the next run asks for it
    except TwinError:  # it has ended
        noted.unlink(missing_ok=True)
        raise
    except BaseException:  # Ctrl-C here means the job there, too
        begun = _read(noted)
        if begun and _stop(cluster, begun.id):
            noted.unlink(missing_ok=True)
        raise
    noted.unlink(missing_ok=True)
    return result


def _made_before(settings: Settings, job: str, order: dict[str, Any]) -> str | None:
    if job == "train" and (Path(order["out"]) / "manifest.json").exists():
        return str(order["out"])
    if job == "prepare" and (_tokenizer(settings) / "manifest.json").exists():
        return str(_tokenizer(settings))
    return None


def _tokenizer(settings: Settings) -> Path:
    """Apart from the prepared models: what came back from the cluster has no weights."""
    return settings.models_path / "tokenizers" / folder_name(settings.model.base, settings.model.revision)


def progress_to(on_event: Listener) -> Progress:
    def progress(done: float, total: float | None, note: str = "") -> None:
        on_event({"event": "progress", "done": done, "total": total, "note": note})

    return progress


def storage_url(settings: Settings) -> str:
    if settings.trainer.storage is None:
        mend = "Name a folder that the GPU hosts share (file:///...) or a bucket (s3://...): TWIN_TRAINER__STORAGE."
        raise SettingsError("TWIN_TRAINER__LAUNCHER=ray needs a storage.", mend=mend)
    return settings.trainer.storage


# --- what travels -----------------------------------------------------------------------------------------------------


def send(settings: Settings, storage: Storage, order: dict[str, Any], progress: Progress) -> tuple[dict[str, Any], list[str]]:
    """Put what the order names into the storage; returns the order with references for its paths, and their digests."""
    folders: list[str] = []

    def folder(path: str, **options: Any) -> dict[str, str]:
        folders.append(storage.push(Path(path), progress, **options))
        return {"ref": "folder", "digest": folders[-1], "name": Path(path).name}

    def file(path: str | None) -> dict[str, str] | None:
        if path is None:
            return None
        folders.append(storage.push(Path(path).expanduser(), progress))
        return {"ref": "file", "digest": folders[-1], "name": Path(path).name}

    wanted = {name: value for name, value in order.items() if name not in ("cache", "models")}
    for name, value in order.items():
        if name == "dataset":
            wanted[name] = folder(value, without=PRIVATE)
        elif name == "base":
            wanted[name] = folder(value) if _is_own(settings) else _model(settings, Path(value))
        elif name == "parent":
            wanted[name] = folder(value) if value else None
        elif name == "adapters":
            wanted[name] = [folder(path) for path in value]
        elif name == "generic":
            wanted[name] = file(value)
        elif name == "recipe":
            wanted[name] = value | {"generic_path": file(value["generic_path"])}
        elif name == "out":
            wanted[name] = Path(value).name
    return wanted, folders


def _is_own(settings: Settings) -> bool:
    """Whether the base model is a folder of this host, which no other host can make or fetch."""
    return Path(settings.model.base).expanduser().is_dir()


def _model(settings: Settings, base: Path) -> dict[str, Any]:
    weights = json.loads((base / "manifest.json").read_text(encoding="utf-8")).get("weights")
    return {"ref": "model", "name": settings.model.base, "revision": settings.model.revision, "weights": weights}


def fetch(settings: Settings, storage: Storage, job: str, order: dict[str, Any], job_id: str, progress: Progress) -> Any:
    """The job's result, with the folder that it made on this host's disk."""
    result = storage.read(_result(job_id))
    if result is None:
        raise TwinError(f"`{job}` is done, but its result is not in {storage.url}.", mend="Does the cluster use the same storage?")
    if job in ("train", "prepare"):
        target = Path(order["out"]) if job == "train" else _tokenizer(settings)
        result = str(storage.pull(result["digest"], target, progress))
    storage.remove(_result(job_id))
    return result


def _result(job_id: str) -> str:
    return f"result-{job_id}"


# --- one job ----------------------------------------------------------------------------------------------------------


def _submitted(
    cluster: Cluster, storage: Storage, job: str, wanted: dict[str, Any], folders: list[str], noted: Path, progress: Progress
) -> Submitted:
    """The job of before if it still does this very order, else a new one."""
    digest = hashlib.sha256(json.dumps([storage.url, job, wanted], sort_keys=True).encode()).hexdigest()[:12]
    before = _read(noted)
    if before and before.address == cluster.address:
        answer = _patiently(lambda: _known(cluster, before.id), progress)
        is_of_use = answer and (not answer.has_ended or (answer.status == DONE and storage.read(_result(before.id)) is not None))
        if is_of_use and before.order == digest:
            progress(0, None, "going on with the job that the cluster has")
            return before
        if answer and not answer.has_ended:
            _stop(cluster, before.id)
    if job == "train":  # of nights before: chats that are not used any more do not stay there
        storage.sweep(folders=folders, names=[checkpoint_name(wanted["out"])])
    submitted = Submitted(f"twin-{job}-{digest}-{token_hex(3)}", cluster.address, digest)
    write_private(noted, json.dumps(asdict(submitted)).encode())
    order = {"id": submitted.id, "job": job, "order": wanted, "checkpoint_seconds": CHECKPOINT_SECONDS}
    command = f"exec python -m trainer.ray_job --storage {shlex.quote(storage.url)} --order {shlex.quote(json.dumps(order))}"
    gpus = 1 if job in ON_A_GPU and _patiently(cluster.gpus, progress) else 0
    _patiently(lambda: cluster.submit(submitted.id, command, gpus=gpus), progress)
    return submitted


def _read(note: Path) -> Submitted | None:
    try:
        return Submitted(**json.loads(note.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _known(cluster: Cluster, job_id: str) -> Answer | None:
    try:
        return cluster.answer(job_id)
    except UnknownJob:
        return None


def follow(cluster: Cluster, job_id: str, on_event: Listener, log: IO[str]) -> Answer:
    """Hand on the job's events, and its other lines to the log, until it has ended. Raises what the job raised, and Unreachable."""
    read = 0  # lines
    progress = progress_to(on_event)
    while True:
        with cluster.tail(job_id) as tail:
            number, heard_at = 0, time.monotonic()
            while time.monotonic() - heard_at < SILENT_SECONDS:
                try:
                    line = tail.line(LOOK_SECONDS)
                except queue.Empty:
                    answer = _patiently(lambda: cluster.answer(job_id), progress)
                    if answer.has_ended:
                        break
                    if answer.status == WAITING:
                        progress(0, None, "waiting for a free place on the cluster")
                        heard_at = time.monotonic()
                    continue
                if line is None:
                    break
                heard_at = time.monotonic()
                number += 1
                if number > read:  # what was read before the connection was lost comes again
                    read = number
                    _hear(line, on_event, log)
        answer = _patiently(lambda: cluster.answer(job_id), progress)
        if answer.has_ended:
            for line in cluster.log(job_id)[read:]:
                _hear(line, on_event, log)
            return answer
        time.sleep(PAUSE_SECONDS)


def _hear(line: str, on_event: Listener, log: IO[str]) -> None:
    if not line.startswith(MARK):
        log.write(f"{line}\n")
        log.flush()
        return
    event = json.loads(line.removeprefix(MARK))
    if event["event"] == "error":
        raise error_of(event)
    if event["event"] not in ("alive", "done"):
        on_event(event)


def _patiently(call: Callable[[], Result], progress: Progress) -> Result:
    """Ask again while nobody answers, for LOST_SECONDS at most."""
    began = time.monotonic()
    while True:
        try:
            return call()
        except Unreachable as exc:
            lost = time.monotonic() - began
            if lost > LOST_SECONDS:
                mend = f"{exc.mend} A job that it runs goes on, and the same command follows it once the cluster answers."
                raise Unreachable(f"{exc.what} Tried for {LOST_SECONDS / 60:.0f} minutes.", mend=mend) from exc
            progress(0, None, f"the cluster does not answer, trying again ({lost:.0f} s)")
            time.sleep(PAUSE_SECONDS)


def _stop(cluster: Cluster, job_id: str) -> bool:
    """Whether the job has ended, within STOP_SECONDS."""
    deadline = time.monotonic() + STOP_SECONDS
    try:
        cluster.stop(job_id)
        while time.monotonic() < deadline:
            if cluster.answer(job_id).has_ended:
                return True
            time.sleep(0.1)
    except UnknownJob:
        return True
    except TwinError:
        return False  # the next night stops it, or follows it
    return False


def _ended(job: str, answer: Answer, log: Path) -> TwinError:
    again = "The next run goes on from the last checkpoint in the storage." if job == "train" else "The next run does it again."
    if answer.status == STOPPED:
        return TwinError(f"`{job}` was stopped on the cluster.", mend=again)
    if answer.exit_code is not None:
        return TwinError(
            f"`{job}` ended on the cluster with exit code {answer.exit_code} before it was done.", mend=f"{log} says why. {again}"
        )
    return TwinError(
        f"`{job}` was lost on the cluster.", mend=f"Did its host go away? {log} has what it said, {again[0].lower()}{again[1:]}"
    )
