"""`python -m trainer.train`: one run as a process of its own, so that its memory goes with it.

    python -m trainer.train --dataset DIR --base DIR --out DIR [--parent DIR] [--recipe JSON] [--minutes 5 --learning-rate 2e-4 ...]

stdout  one JSON object a line: {"event": "estimate", ...}, {"event": "progress", "done", "total", "note"}, at the end
        {"event": "done", "adapter", "metrics"} or {"event": "error", "type", "what", "mend"}
exit    0 done, 1 failed, 2 wrong usage, 130 interrupted
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainer.train import train
from twin.errors import TwinError
from twin.settings import Training


def main(argv: Sequence[str] | None = None) -> int:
    # Waiting OpenMP threads must not spin: on shared cores that is ten times slower. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parser = _parser()
    given = vars(parser.parse_args(argv))
    dataset, base, out, recipe, parent = (given.pop(name) for name in ("dataset", "base", "out", "recipe", "parent"))
    try:
        training = Training(**{**json.loads(recipe), **{name: value for name, value in given.items() if value is not None}})
    except (ValidationError, json.JSONDecodeError, TypeError) as exc:
        parser.error(f"the recipe is wrong: {exc}")

    events = sys.stdout

    def tell(event: str, **facts: Any) -> None:
        events.write(json.dumps({"event": event, **facts}) + "\n")
        events.flush()

    def progress(done: float, total: float | None, note: str = "") -> None:
        tell("progress", done=done, total=total, note=note)

    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch and its libraries print what they like
            train(dataset, base, out, training, progress, parent=parent, announce=lambda known: tell("estimate", **asdict(known)))
    except TwinError as exc:
        tell("error", type=type(exc).__name__, what=exc.what, mend=exc.mend)
        return 1
    except KeyboardInterrupt:
        return 130
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    tell("done", adapter=str(out), metrics=manifest["metrics"])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m trainer.train", description="Turn a dataset folder into an adapter folder.")
    parser.add_argument("--dataset", type=Path, required=True, help="a sealed dataset folder")
    parser.add_argument("--base", type=Path, required=True, help="a prepared base model folder")
    parser.add_argument("--out", type=Path, required=True, help="the adapter folder to make; <out>.training keeps checkpoints")
    parser.add_argument("--parent", type=Path, help="a sealed adapter folder to go on from; without it: from the base model")
    parser.add_argument("--recipe", default="{}", metavar="JSON", help="training settings as one object; the options below come first")
    for name, info in Training.model_fields.items():
        parser.add_argument(f"--{name.replace('_', '-')}", help=info.description)
    return parser
