"""The heavy jobs of a night by name: prepare, build, train, evaluate. An order and a result are plain JSON, so that a job runs
in a process of its own on this host (twin.cli.worker) or on a GPU host (trainer.ray_job).

Events: `estimate` (of a training), `progress`, `error` (a TwinError), `done` with `result`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from trainer.gpu_lock import one_card
from twin.errors import TwinError
from twin.foreseen import foreseen
from twin.generator import Sampling
from twin.progress import Progress
from twin.settings import Training, load_settings

TELL_SECONDS = 0.2  # at most so often

Order = dict[str, Any]
Tell = Callable[..., None]  # tell(event, **more)


def prepare(order: Order, progress: Progress, tell: Tell) -> str:
    from trainer.base_model import prepare_base_model

    return str(prepare_base_model(order["name"], Path(order["models"]), revision=order["revision"], progress=progress))


def build(order: Order, progress: Progress, tell: Tell) -> dict[str, Any]:
    from trainer.dataset import build_dataset
    from twin.store import open_store

    settings = load_settings(None, data=order["data"], dataset=order["dataset"], owner={"name": order["owner_name"]})

    async def run() -> dict[str, Any]:
        store = open_store(settings.store_path)
        try:
            return (await build_dataset(store, settings, Path(order["base"]), Path(order["out"]), progress)).as_json()
        finally:
            await store.dispose()

    return asyncio.run(run())


def train(order: Order, progress: Progress, tell: Tell) -> str:
    from trainer.train import train

    dataset, base, out = (Path(order[name]) for name in ("dataset", "base", "out"))
    recipe = Training(**order["recipe"])
    parent = Path(order["parent"]) if order["parent"] else None
    announced = partial(_announce, tell)
    return str(train(dataset, base, out, recipe, progress, parent=parent, announce=announced))


def _announce(tell: Tell, known: Any) -> None:
    tell("estimate", **asdict(known))


def evaluate(order: Order, progress: Progress, tell: Tell) -> dict[str, Any]:
    from trainer.evaluate import ANSWERS, evaluate

    dataset, base, adapters = Path(order["dataset"]), Path(order["base"]), [Path(path) for path in order["adapters"]]
    generic = Path(order["generic"]) if order["generic"] else None
    return evaluate(
        dataset,
        base,
        adapters,
        progress,
        items=order["items"],
        answers=min(order["items"], ANSWERS),
        sampling=Sampling(**order["sampling"]),
        generic=generic,
        cache=Path(order["cache"]),
    )


JOBS: dict[str, Callable[[Order, Progress, Tell], Any]] = {"prepare": prepare, "build": build, "train": train, "evaluate": evaluate}
ON_A_CARD = frozenset({"train", "evaluate"})


def prepare_process() -> None:
    """What torch reads when it is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # on shared cores, threads that spin while they wait are ten times slower
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # cards are numbered as nvidia-smi and the lock of the card number them


def perform(job: str, order: Order, tell: Tell, *, every: float = TELL_SECONDS) -> bool:
    """Do a job and tell its events, progress at most once in `every` seconds; whether it was done."""
    prepare_process()
    told_at = 0.0

    def progress(done: float, total: float | None, note: str = "") -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= every:
            told_at = time.monotonic()
            tell("progress", done=done, total=total, note=note)

    try:
        with one_card(progress) if job in ON_A_CARD else nullcontext():
            result = JOBS[job](order, progress, tell)
    except TwinError as exc:
        tell("error", type=type(exc).__name__, what=exc.what, mend=exc.mend)
        return False
    except Exception as exc:  # the last border of this process
        known = foreseen(exc, Path(order.get("data") or order.get("out") or "."))
        if known is None:
            raise
        tell("error", type=type(known).__name__, what=known.what, mend=known.mend)
        return False
    tell("done", result=result)
    return True
