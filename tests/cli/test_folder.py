"""One training at a time, and its row says how it ended."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_scene import on_store, twin

from twin.cli.folder import current_dataset, is_training, open_folder, training, transact, utc_now
from twin.errors import FloodError, InputError, TwinError
from twin.store import runs

HOLD = """
import pathlib, sys
from twin.cli.folder import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

RUN = """
import datetime, pathlib, sys, threading
from twin.cli import folder
folder.STOP_GRACE = datetime.timedelta(0)
try:
    with folder.training(folder.open_folder(pathlib.Path(sys.argv[1])), "train") as run:
        run.stage("train")
        print("running", flush=True)
        threading.Event().wait(60)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def newest(data: Path) -> Any:
    return on_store(data, runs.newest)


def until(claim: Callable[[], bool], seconds: float = 30.0) -> None:
    """The row is written by a thread of its own."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_that_ends_well_is_done(data: Path) -> None:
    with training(open_folder(data), "nightly") as run:
        run.stage("collect")
        run.progress(3, 10, "3 messages")
        until(lambda: newest(data).progress.get("done") == 3)
        assert (newest(data).state, newest(data).stage) == ("running", "collect")
        assert newest(data).progress["stages"][0]["name"] == "collect"
        run.detail["adapter"] = "a"
    assert (newest(data).state, newest(data).kind, newest(data).detail) == ("done", "nightly", {"adapter": "a"})


@pytest.mark.parametrize(
    ("error", "state", "said"),
    [
        (InputError("There is nothing to learn from."), "failed", "There is nothing to learn from."),
        (ValueError("meet me at the harbour"), "failed", "ValueError"),
        (KeyboardInterrupt(), "cancelled", None),
    ],
)
def test_a_run_that_ends_badly_says_so_without_anybodys_words(data: Path, error: BaseException, state: str, said: str | None) -> None:
    with pytest.raises(type(error)), training(open_folder(data), "full"):
        raise error
    assert (newest(data).state, newest(data).error) == (state, said)
    with training(open_folder(data), "full"):
        pass  # the lock is free again


def test_a_run_that_failed_says_in_which_way(data: Path) -> None:
    for error, detail in (
        (FloodError(3700), {"failure": "FloodError", "wait_seconds": 3700}),
        (InputError("There is nothing to learn from."), {"failure": "InputError"}),
        (ValueError("meet me at the harbour"), {"failure": "ValueError"}),
    ):
        with pytest.raises(type(error)), training(open_folder(data), "nightly"):
            raise error
        assert newest(data).detail == detail


def test_a_run_that_is_asked_to_stop_ends_as_with_ctrl_c_wherever_it_runs(data: Path) -> None:
    settings = open_folder(data)
    assert not is_training(settings)
    process = subprocess.Popen([sys.executable, "-c", RUN, str(data)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "running\n"
    assert is_training(settings)
    asked = transact(settings, lambda connection: runs.ask_to_stop(connection, utc_now()))
    assert asked
    assert process.communicate(timeout=150)[0] == "stopped\n"
    assert (newest(data).state, newest(data).run_id) == ("cancelled", asked.run_id)
    assert not is_training(settings)


def test_a_night_that_is_done_is_not_played_again(data: Path) -> None:
    settings, night = open_folder(data), utc_now()
    with training(settings, "nightly", trigger="schedule", night_at=night):
        pass
    with pytest.raises(InputError, match="done already"), training(settings, "nightly", trigger="schedule", night_at=night):
        pass
    assert newest(data).state == "done"


def test_a_run_that_was_killed_is_found_by_the_next_one(data: Path) -> None:
    settings = open_folder(data)
    transact(settings, lambda connection: runs.begin(connection, "killed", "full", utc_now()))
    with training(settings, "full"):
        pass
    killed = on_store(data, lambda connection: runs.newest(connection, "full"))
    assert killed.state == "done"

    async def states(connection: Any) -> dict[str, str]:
        from sqlalchemy import select

        from twin.store.tables import runs as table

        return dict((await connection.execute(select(table.c.run_id, table.c.state))).all())

    assert on_store(data, states)["killed"] == "failed"


def test_a_second_training_is_refused_and_names_the_first(data: Path) -> None:
    settings = open_folder(data)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data / "training.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(TwinError, match=str(holder.pid)), training(settings, "full"):
        pass
    holder.communicate()
    with training(settings, "full"):
        pass


def test_training_without_a_dataset_says_what_to_do(data: Path) -> None:
    with pytest.raises(TwinError, match="no dataset"):
        current_dataset(open_folder(data))
    ran = twin("train", "--data", data)
    assert ran.code == 1
    assert "twin dataset" in ran.err
