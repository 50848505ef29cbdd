"""The heavy stages in a process of their own: `python -m twin.cli.worker train|evaluate JSON`, one JSON event a line on stdout.

Ctrl-C then ends them at once, wherever they are, and their memory is given back when they end. Events: `estimate`
(of a training), `progress`, `error` (a TwinError), `done` with `result`.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from twin.errors import TwinError
from twin.generator import Sampling
from twin.settings import Training

TELL_SECONDS = 0.2  # at most so often


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

    job, order = sys.argv[1], json.loads(sys.argv[2])
    try:
        if job == "train":
            from trainer.train import train

            recipe = Training(**order["recipe"])
            out = train(
                Path(order["dataset"]),
                Path(order["base"]),
                Path(order["out"]),
                recipe,
                progress,
                announce=lambda found: tell("estimate", **asdict(found)),
            )
            tell("done", result=str(out))
        else:
            from trainer.evaluate import ANSWERS, evaluate

            adapters = [Path(path) for path in order["adapters"]]
            items, sampling = order["items"], Sampling(**order["sampling"])
            found = evaluate(
                Path(order["dataset"]), Path(order["base"]), adapters, progress, items=items, answers=min(items, ANSWERS), sampling=sampling
            )
            tell("done", result=found)
    except TwinError as exc:
        tell("error", what=exc.what, mend=exc.mend)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
