"""The heavy stages in a process of their own: `python -m twin.cli.worker JOB JSON`, one JSON event a line on stdout.

Ctrl-C then ends them at once, wherever they are, and their memory is given back when they end. Jobs: prepare, build,
train, evaluate. Events: `estimate` (of a training), `progress`, `error` (a TwinError), `done` with `result`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from twin.errors import TwinError
from twin.generator import Sampling
from twin.progress import Progress
from twin.settings import Training, load_settings
from twin.store import open_store

TELL_SECONDS = 0.2  # at most so often

Tell = Callable[..., None]


def prepare(order: dict[str, Any], progress: Progress, tell: Tell) -> str:
    from trainer.base_model import prepare_base_model

    return str(prepare_base_model(order["name"], Path(order["models"]), revision=order["revision"], progress=progress))


def build(order: dict[str, Any], progress: Progress, tell: Tell) -> dict[str, Any]:
    from trainer.dataset import build_dataset

    settings = load_settings(None, data=order["data"], dataset=order["dataset"], owner={"name": order["owner_name"]})

    async def run() -> dict[str, Any]:
        store = open_store(settings.store_path)
        try:
            return (await build_dataset(store, settings, Path(order["base"]), Path(order["out"]), progress)).as_json()
        finally:
            await store.dispose()

    return asyncio.run(run())


def train(order: dict[str, Any], progress: Progress, tell: Tell) -> str:
    from trainer.train import train

    dataset, base, out = (Path(order[name]) for name in ("dataset", "base", "out"))
    recipe = Training(**order["recipe"])
    parent = Path(order["parent"]) if order["parent"] else None
    announced = partial(_announce, tell)
    return str(train(dataset, base, out, recipe, progress, parent=parent, announce=announced))


def _announce(tell: Tell, known: Any) -> None:
    tell("estimate", **asdict(known))


def evaluate(order: dict[str, Any], progress: Progress, tell: Tell) -> dict[str, Any]:
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


JOBS: dict[str, Callable[[dict[str, Any], Progress, Tell], Any]] = {
    "prepare": prepare,
    "build": build,
    "train": train,
    "evaluate": evaluate,
}


def main() -> int:
    # torch and its libraries print to stdout what they like: events keep the real one, the rest goes to stderr.
    events = sys.stdout
    sys.stdout = sys.stderr

    def tell(event: str, **more: Any) -> None:
        events.write(json.dumps({"event": event, **more}, default=str) + "\n")
        events.flush()

    told_at = 0.0

    def progress(done: float, total: float | None, note: str = "") -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= TELL_SECONDS:
            told_at = time.monotonic()
            tell("progress", done=done, total=total, note=note)

    try:
        result = JOBS[sys.argv[1]](json.loads(sys.argv[2]), progress, tell)
    except TwinError as exc:
        tell("error", type=type(exc).__name__, what=exc.what, mend=exc.mend)
        return 1
    tell("done", result=result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
