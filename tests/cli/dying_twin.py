"""`twin ARGUMENTS` that dies by SIGKILL at a named point of a night: TWIN_TEST_DIE_AT=STAGE:SHARE python dying_twin.py ARGUMENTS.

`train:0.4` dies in the stage `train` once four tenths of it are done, and where it ends at the latest; `promote:1` when it has ended.
Training has a process of its own, as in a real night; the other jobs run in this one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from jobs_here import run_in_this_process

from twin.cli import launchers, main, night, stages
from twin.cli.folder import Training


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    stage, _, share = point.partition(":")
    wanted, begun = float(share), [""]
    begin, progress, promote, run_here = Training.stage, Training.progress, stages.promote, launchers._run_here

    def dying_begin(run: Training, name: str) -> None:
        if begun[0] == stage:
            die()
        begun[0] = name
        begin(run, name)
        if name == stage and wanted == 0:
            die()

    def dying_progress(run: Training, done: float, total: float | None, note: str = "") -> None:
        progress(run, done, total, note)
        if begun[0] == stage and total and wanted <= done / total < 1:
            die()

    def dying_promote(*arguments: Any) -> None:
        promote(*arguments)
        die()

    def run(settings: Any, job: str, order: dict[str, Any], on_event: Callable[[dict[str, Any]], None]) -> Any:
        return (run_here if job == "train" else run_in_this_process)(settings, job, order, on_event)

    Training.stage, Training.progress = dying_begin, dying_progress  # type: ignore[method-assign]
    launchers._run_here = run
    if point == "promote:1":
        night.stages.promote = dying_promote  # type: ignore[assignment]


if __name__ == "__main__":
    arm(os.environ.pop("TWIN_TEST_DIE_AT"))  # no setting, and those that nobody knows are refused
    main()
