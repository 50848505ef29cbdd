"""One training at a time, and its row says how it ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_scene import on_store, twin

from twin.cli.folder import current_dataset, open_folder, training, transact, utc_now
from twin.errors import InputError, TwinError
from twin.store import runs

HOLD = """
import pathlib, sys
from twin.cli.folder import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def newest(data: Path) -> Any:
    return on_store(data, runs.newest)


def test_a_run_that_ends_well_is_done(data: Path) -> None:
    with training(open_folder(data), "nightly") as run:
        run.stage("collect")
        assert (newest(data).state, newest(data).stage) == ("running", "collect")
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
