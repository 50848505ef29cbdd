"""The heavy jobs on a Ray cluster of GPU hosts: what a job needs goes into the storage, what it made comes back out of it.

    data/jobs/<job>.json   {"id", "address", "order"}: written before the job is submitted, gone when it has ended
    data/jobs/<job>.lock   held meanwhile, so that no other process takes the job for one that a crash has left

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

from trainer.ray_cluster import DONE, STOPPED, WAITING, Answer, Cluster, UnknownJob, Unreachable
from trainer.ray_job import CHECKPOINT_SECONDS, MARK, checkpoint_name, result_name
from trainer.storage import Damaged, Storage
from twin.cli.folder import locked
from twin.cli.launchers import Listener, error_of
from twin.cli.ray_orders import fetch, made_before, open_storage, send
from twin.errors import StoreError, TwinError
from twin.progress import Progress
from twin.sealing import write_private
from twin.settings import Settings

Result = TypeVar("Result")

LOST_SECONDS = 600.0  # so long nobody answers before it is given up
LOOK_SECONDS = 5.0  # of silence before the cluster is asked how the job is
SILENT_SECONDS = 60.0  # four times trainer.ray_job.ALIVE_SECONDS: the line is dead, and is made anew
PAUSE_SECONDS = 1.0
STOP_SECONDS = 4.0
NUMBER = int | float
EVENTS: dict[str, dict[str, Any]] = {  # what those who are told of one use of it: a GPU host may write anything
    "alive": {},
    "done": {},
    "error": {"type": str, "what": str, "mend": str},
    "progress": {"done": NUMBER, "total": NUMBER | None, "note": str},
    "estimate": {"device": str}
    | dict.fromkeys(("trainable", "parameters", "memory_gib", "flops", "seconds", "examples", "tokens"), NUMBER),
}
ON_A_GPU = frozenset({"train", "evaluate"})


@dataclass(frozen=True)
class Submitted:
    id: str
    address: str
    order: str  # digest


def open_cluster(settings: Settings) -> Cluster:
    token = settings.trainer.ray_token
    return Cluster(settings.trainer.ray_address, token.get_secret_value() if token else None)


def run(settings: Settings, job: str, order: dict[str, Any], on_event: Listener) -> Any:
    """Do a job of trainer.jobs on the cluster and return its result. Raises TwinError."""
    if made := made_before(settings, job, order):
        return made
    storage, cluster = open_storage(settings), open_cluster(settings)
    noted = settings.data / "jobs" / f"{job}.json"
    log = settings.data / "logs" / f"{job}.log"
    for path in (noted, log):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    progress = progress_to(on_event)
    with locked(noted.with_suffix(".lock")):
        wanted, folders = send(settings, storage, order, progress)
        try:
            submitted = _submitted(cluster, storage, job, wanted, folders, noted, progress)
            with os.fdopen(os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                answer = follow(cluster, submitted.id, on_event, file)
            if answer.status != DONE:
                raise _ended(job, answer, log)
            result = fetch(settings, storage, job, order, submitted.id, progress)
        except TwinError as exc:
            # Nobody answers: the job may be well, and the next run asks for it. Everything else is its end.
            if isinstance(exc, Damaged) or not isinstance(exc, Unreachable | StoreError):
                noted.unlink(missing_ok=True)
            raise
        except BaseException:  # Ctrl-C here means the job there, too
            begun = _read(noted)
            if begun and _stop(cluster, begun.id):
                noted.unlink(missing_ok=True)
            raise
        noted.unlink(missing_ok=True)
        return result


def progress_to(on_event: Listener) -> Progress:
    def progress(done: float, total: float | None, note: str = "") -> None:
        on_event({"event": "progress", "done": done, "total": total, "note": note})

    return progress


def _submitted(
    cluster: Cluster, storage: Storage, job: str, wanted: dict[str, Any], folders: list[str], noted: Path, progress: Progress
) -> Submitted:
    """The job of before if it still does this very order, else a new one."""
    digest = hashlib.sha256(json.dumps([storage.url, job, wanted], sort_keys=True).encode()).hexdigest()[:12]
    before = _read(noted)
    if before and before.address == cluster.address:
        answer = patiently(lambda: _known(cluster, before.id), progress)
        is_of_use = answer and (not answer.has_ended or (answer.status == DONE and storage.read(result_name(before.id)) is not None))
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
    gpus = 1 if job in ON_A_GPU and patiently(cluster.gpus, progress) else 0
    patiently(lambda: cluster.submit(submitted.id, command(storage, order), gpus=gpus), progress)
    return submitted


def command(storage: Storage, order: dict[str, Any]) -> str:
    return f"exec python -m trainer.ray_job --storage {shlex.quote(storage.url)} --order {shlex.quote(json.dumps(order))}"


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
    """Hand on the job's events, and its other lines to the log, until it is done or has ended.

    Raises what the job raised, and Unreachable.
    """
    read = 0  # lines
    progress = progress_to(on_event)
    while True:
        with cluster.tail(job_id) as tail:
            number, heard_at = 0, time.monotonic()
            while time.monotonic() - heard_at < SILENT_SECONDS:
                try:
                    line = tail.line(LOOK_SECONDS)
                except queue.Empty:
                    answer = patiently(lambda: cluster.answer(job_id), progress)
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
                    if _is_last(line, on_event, log):
                        return Answer(DONE, "", 0)  # Ray needs seconds more to say so
        answer = patiently(lambda: cluster.answer(job_id), progress)
        if answer.has_ended:
            for line in cluster.log(job_id)[read:]:
                _is_last(line, on_event, log)
            log.write(f"{answer.message}\n")
            return answer
        time.sleep(PAUSE_SECONDS)


def _is_last(line: str, on_event: Listener, log: IO[str]) -> bool:
    """Hand a line on; whether it says that the job is done."""
    event = _event_in(line)
    if event is None:
        log.write(f"{line}\n")
        log.flush()
    elif event["event"] == "error":
        raise error_of(event)
    elif event["event"] not in ("alive", "done"):
        on_event(event)
    return event is not None and event["event"] == "done"


def _event_in(line: str) -> dict[str, Any] | None:
    """None if it is no event, or only a part of one: of a job that was killed while it wrote, or of whoever else writes there."""
    if not line.startswith(MARK):
        return None
    try:
        event = json.loads(line.removeprefix(MARK))
    except (ValueError, RecursionError):
        return None
    shape = EVENTS.get(str(event.get("event"))) if isinstance(event, dict) else None
    return event if shape is not None and all(isinstance(event.get(name), kind) for name, kind in shape.items()) else None


def patiently(call: Callable[[], Result], progress: Progress, seconds: float | None = None) -> Result:
    """Ask again while nobody answers, for so many seconds at most: LOST_SECONDS if none are given, once if 0."""
    began, limit = time.monotonic(), LOST_SECONDS if seconds is None else seconds
    while True:
        try:
            return call()
        except Unreachable as exc:
            lost = time.monotonic() - began
            if not limit:
                raise
            if lost > limit:
                mend = f"{exc.mend} A job that it runs goes on, and the same command follows it once the cluster answers."
                raise Unreachable(f"{exc.what} Tried for {limit:.0f} s.", mend=mend) from exc
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
    if answer.exit_code is None:
        return TwinError(f"`{job}` was lost on the cluster.", mend=f"Did its host go away? {log} has what was heard. {again}")
    how = f"ended on the cluster with exit code {answer.exit_code} before it was done"
    return TwinError(f"`{job}` {how}.", mend=f"{log} says why. {again}")
