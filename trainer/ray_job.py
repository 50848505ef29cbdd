"""One of trainer.jobs on a GPU host: `python -m trainer.ray_job --storage URL --order JSON`, as a Ray job runs it.

What the order names comes out of the storage into this host's cache, the job is done, and what it made goes back: folders, and
the result as a document of the job's id, written last. A training's checkpoint goes there too every few minutes, so that the
next try goes on from it on whichever host it lands; the cache keeps nothing that the order does not name.

stdout  one event a line, marked, among whatever else the libraries print (trainer.jobs has the events; `alive` is added)
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from trainer import jobs
from trainer.storage import Storage
from twin.errors import ModelError, StoreError, TwinError
from twin.progress import Progress

LOOK = "look"  # the one job that is none of trainer.jobs
NEEDED = ("torch", "transformers", "peft")
MARK = "@twin "  # what an event's line begins with
TELL_SECONDS = 1.0
ALIVE_SECONDS = 15.0
CHECKPOINT_SECONDS = 120.0
TOKENIZER = ("manifest.json", "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
KEPT_IN_CHECKPOINT = ("checkpoint.pt", "best.pt", "made_from")  # in this order: a best that is newer than the checkpoint does no harm

Tell = jobs.Tell


def main() -> int:
    if os.environ.get("OMP_NUM_THREADS") == "1":
        del os.environ["OMP_NUM_THREADS"]  # Ray sets it for jobs that ask for one core; torch may use the host's
    jobs.prepare_process()
    parser = argparse.ArgumentParser("python -m trainer.ray_job", description="Do one job of the twin with what is in the storage.")
    parser.add_argument("--storage", required=True, metavar="URL", help="the storage's fsspec URL")
    parser.add_argument("--order", required=True, metavar="JSON", help="what to do, with the digests of what it needs")
    given = parser.parse_args()
    order = json.loads(given.order)
    lock = threading.Lock()

    def tell(event: str, **more: Any) -> None:
        line = f"\n{MARK}{json.dumps({'event': event, **more}, default=str)}\n".encode()  # whatever was printed before, at a line's start
        with lock:
            os.write(1, line)

    with _repeating(ALIVE_SECONDS, lambda: tell("alive")):
        try:
            return 0 if work(Storage(given.storage), order, tell, cache_of(given.storage)) else 1
        except TwinError as exc:
            tell("error", type=type(exc).__name__, what=exc.what, mend=exc.mend)
            return 1


def cache_of(url: str) -> Path:
    """This host's own copies for the twin with this storage: people's chats, readable by this account alone."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "telegram-twin" / hashlib.sha256(url.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def work(storage: Storage, order: dict[str, Any], tell: Tell, cache: Path) -> bool:
    """Do the order {"id", "job", "order", "checkpoint_seconds"}; whether it was done. Raises StoreError or ModelError."""
    if order["job"] == LOOK:
        storage.write(result_name(order["id"]), look(storage, order["id"]))
        return True
    with _alone(cache, tell):
        return _work(storage, order, tell, cache)


def look(storage: Storage, name: str) -> dict[str, Any]:
    """For `twin doctor`: read what the bot's host wrote under this name, and say what training would miss here."""
    if storage.read(name) is None:
        mend = "Every host must have the same folder under that path (NFS, say), or use s3://."
        raise StoreError(f"The GPU host does not see what the bot's host writes to {storage.url}.", mend=mend)
    return {"missing": [package for package in NEEDED if importlib.util.find_spec(package) is None]}


def _work(storage: Storage, order: dict[str, Any], tell: Tell, cache: Path) -> bool:
    job, wanted = order["job"], order["order"]
    _tidy(cache, wanted)

    def fetching(done: float, total: float | None, note: str = "") -> None:
        tell("progress", done=done, total=total, note=note)

    made: list[Any] = []

    def told(event: str, **more: Any) -> None:
        if event == "done":
            made.append(more["result"])
        else:
            tell(event, **more)

    local = {name: fetch(storage, value, cache, fetching) for name, value in wanted.items()}
    keeping: AbstractContextManager[None] = nullcontext()
    if job == "train":
        local["out"] = str(cache / "adapters" / wanted["out"])
        keeping = _checkpoints(storage, Path(f"{local['out']}.training"), order["checkpoint_seconds"])
    elif job == "evaluate":
        local["cache"] = str(cache / "evaluations" / Path(local["dataset"]).name)
    elif job == "prepare":
        local["models"] = str(_models(cache))
    with keeping:
        jobs.perform(job, local, told, every=TELL_SECONDS)
    if made:
        storage.write(result_name(order["id"]), finish(storage, job, wanted, made[0]))
        tell("done")
    return bool(made)


def fetch(storage: Storage, value: Any, cache: Path, progress: Progress) -> Any:
    """The order's value with everything that it refers to on this host's disk (twin.cli.ray_orders writes the references)."""
    if isinstance(value, list):
        return [fetch(storage, one, cache, progress) for one in value]
    if not isinstance(value, dict):
        return value
    match value.get("ref"):
        case "folder":  # under its name: adapters and datasets are known by it
            return str(storage.pull(value["digest"], cache / "folders" / value["digest"] / value["name"], progress))
        case "file":
            return str(storage.pull(value["digest"], cache / "folders" / value["digest"] / "file", progress) / value["name"])
        case "model":
            return str(_base(value, cache, progress))
    return {name: fetch(storage, one, cache, progress) for name, one in value.items()}


def finish(storage: Storage, job: str, wanted: dict[str, Any], result: Any) -> Any:
    """The result as the bot's host can use it: a folder that was made here is sent."""
    if job == "train":
        digest = storage.push(Path(result))
        storage.forget(checkpoint_name(wanted["out"]))
        return {"ref": "folder", "digest": digest, "name": wanted["out"]}
    if job == "prepare":
        base = Path(result)
        unneeded = [path.name for path in base.iterdir() if path.name not in TOKENIZER]
        return {"ref": "folder", "digest": storage.push(base, without=unneeded), "name": base.name}
    return result


def checkpoint_name(adapter: str) -> str:
    return f"checkpoint-{adapter}"


def result_name(job_id: str) -> str:
    return f"result-{job_id}"


def _base(value: dict[str, Any], cache: Path, progress: Progress) -> Path:
    """A base model that every host makes or fetches by itself, the same one as the bot's host knows."""
    from trainer.base_model import prepare_base_model

    base = prepare_base_model(value["name"], _models(cache), revision=value["revision"], progress=progress)
    weights = json.loads((base / "manifest.json").read_text(encoding="utf-8"))["weights"]
    if value["weights"] is not None and weights != value["weights"]:
        raise ModelError(
            f"This GPU host has other weights of {value['name']} than the host that was asked first.",
            mend="Set TWIN_MODEL__REVISION to one commit of the model, and empty the models folder of the hosts.",
        )
    return base


def _models(cache: Path) -> Path:
    """Weights are public, so the twins that share a host share them."""
    return Path(os.environ.get("TWIN_MODELS") or cache.parent / "models")


@contextmanager
def _alone(cache: Path, tell: Tell) -> Iterator[None]:
    """One job of a twin at a time on a host: each removes from the cache what it does not need itself."""
    with (cache / "lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                tell("progress", done=0, total=None, note="waiting for another job of this twin on the GPU host")
                time.sleep(TELL_SECONDS)
        yield


def _tidy(cache: Path, wanted: dict[str, Any]) -> None:
    """Remove what an earlier order needed or a crash left: people's chats stay no longer than they are used."""
    text, out = json.dumps(wanted), str(wanted.get("out"))
    dataset = wanted["dataset"]["name"] if "dataset" in wanted else ""
    gone = [path for path in cache.glob("folders/*") if path.name not in text]
    gone += cache.glob("folders/*/.*.part")
    gone += [path for path in cache.glob("adapters/*") if path.name != out and not path.name.startswith(f"{out}.")]
    gone += [path for path in cache.glob("evaluations/*") if path.name != dataset]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)


# --- checkpoints ------------------------------------------------------------------------------------------------------


@contextmanager
def _checkpoints(storage: Storage, working: Path, seconds: float) -> Iterator[None]:
    """Bring back what a killed run left in the storage, and leave there what this one reaches."""
    name = checkpoint_name(working.name.removesuffix(".training"))
    fetched = working.with_name(f"{working.name}.fetched")
    shutil.rmtree(fetched, ignore_errors=True)
    try:
        if storage.recall(name, fetched):
            shutil.rmtree(working, ignore_errors=True)
            fetched.rename(working)
    except TwinError as exc:
        _log(f"the checkpoint was not fetched: {exc}")
    sent = _age(working)

    def send() -> None:
        nonlocal sent
        if (age := _age(working)) in (None, sent):
            return
        copy = working.with_name(f"{working.name}.sending")
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir(mode=0o700)
        try:
            for file in KEPT_IN_CHECKPOINT:  # links: the training replaces its files, it never writes into them
                if (working / file).exists():
                    os.link(working / file, copy / file)
            storage.keep(name, copy)
            sent = age
        except (TwinError, OSError) as exc:  # OSError: the training ended, and removed it
            _log(f"the checkpoint was not sent: {type(exc).__name__}")
        finally:
            shutil.rmtree(copy, ignore_errors=True)

    with _repeating(seconds, send):
        yield


def _age(working: Path) -> int | None:
    try:
        return (working / "checkpoint.pt").stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@contextmanager
def _repeating(seconds: float, action: Callable[[], None]) -> Iterator[None]:
    """Do it again and again in a thread of its own while the block runs."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
