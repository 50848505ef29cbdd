"""kill -9 at random points of every stage: the active adapter stays and answers, nothing half-written is read as whole, the next run ends.

KILLS_IN_TESTS=20 kills each stage twenty times (a quarter of an hour). A stage is awaited in the run's own row, then killed with
everything it started after a random share of the time that it took in a whole night.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from cli_scene import on_store
from nights_scene import ITEMS, Nights, say, small_talk
from sqlalchemy.ext.asyncio import AsyncConnection

from inference.engines import open_generator
from trainer.dataset_reader import read_manifest
from twin.generator import ActiveAdapter, Sampling
from twin.settings import load_settings
from twin.store import adapters, messages, open_store, runs
from twin.turns import Turn, system_turn

KILLS = int(os.environ.get("KILLS_IN_TESTS", "1"))
STAGES = ("collect", "dataset", "train", "evaluate", "promote")
ASKED = (system_turn("Robin", "Ada"), Turn("user", "how is the tea 7?"))
GONE_SECONDS = 20


@pytest.mark.slow
@pytest.mark.timeout(1200 + 300 * KILLS)
def test_a_night_killed_in_any_stage_costs_nothing(nights: Nights, tiny: Path) -> None:
    chance = random.Random(4)
    world = Growing(nights, known=on_store(nights.data, stored))
    first = nights.play_and_promote()
    usual = {stage["name"]: stage["seconds"] for stage in first["stages"]} | {"promote": 2.0}
    landed = dict.fromkeys(STAGES, 0)
    for name in STAGES:
        for _ in range(KILLS):
            live = nights.live()
            while not killed(world, name, chance.uniform(0, usual[name])):
                assert world.talked < 1000, f"no kill landed in {name}"
            landed[name] += 1
            assert nights.live() == live or name == "promote"
            asyncio.run(look(nights, tiny))
    assert landed == dict.fromkeys(STAGES, KILLS)
    world.grow()
    nights.play_and_promote()
    asyncio.run(look(nights, tiny))
    assert on_store(nights.data, stored) == world.known, "as many as the server has: none lost, none twice"


@dataclass
class Growing:
    """People go on talking, so that every night has something to learn. `known`: messages on the server."""

    nights: Nights
    known: int
    talked: int = 80

    def grow(self) -> None:
        said = small_talk(self.talked, 5)
        self.talked += 5
        self.known += len(said)
        say(self.nights.sandbox, said)


async def stored(connection: AsyncConnection) -> int:
    return sum(count for count, _ in (await messages.counts(connection, channel="account")).values())


def killed(world: Growing, stage: str, seconds: float) -> bool:
    """Kill a night, or the promotion by hand of its candidate, so long into the stage. False if it ended before."""
    data = world.nights.data
    world.grow()
    is_by_hand = stage == "promote"
    command = ["adapters", "promote", str(world.nights.play()["adapter"])] if is_by_hand else ["nightly", "--items", str(ITEMS)]
    before = newest_run(data)
    process = subprocess.Popen(
        [sys.executable, "-m", "twin", *command, "--json", "--data", str(data)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not is_by_hand and process.poll() is None and newest_run(data) in (before, None):
        time.sleep(0.01)
    while not is_by_hand and process.poll() is None and STAGES.index(stage) > reached(data):
        time.sleep(0.01)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        started = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _, left = psutil.wait_procs(started, timeout=GONE_SECONDS)
        assert not left, "what it started outlives it"
        return True
    assert process.returncode == 0, stage
    return False


def newest_run(data: Path) -> str | None:
    run = on_store(data, runs.newest)
    return run.run_id if run else None


def reached(data: Path) -> int:
    """The place in STAGES of what the newest run does now; -1 before the first of them."""
    run = on_store(data, runs.newest)
    begun = {run.stage, *(stage["name"] for stage in run.progress.get("stages", ()))} if run else set()
    return max((place for place, name in enumerate(STAGES) if name in begun), default=-1)


async def look(nights: Nights, tiny: Path) -> None:
    """Whatever says that it is whole is whole, and the active adapter answers."""
    for manifest in sorted((nights.data / "datasets").glob("*/manifest.json")):
        assert read_manifest(manifest.parent)["dialog_ids"]
    for manifest in sorted((nights.data / "runs").glob("*/manifest.json")):
        assert json.loads(manifest.read_text())["outcome"]
        assert (manifest.parent / "card.png").stat().st_size > 10_000
    store = open_store(nights.data / "twin.sqlite")
    async with store.connect() as connection:
        found = await adapters.find(connection)
    await store.dispose()
    generator = open_generator(load_settings(data=nights.data), tiny)
    try:
        for adapter in found:
            await generator.use(ActiveAdapter(adapter.name, adapter.path))  # raises for one that is not whole
            assert (await generator.generate(ASKED, Sampling(max_new_tokens=4, temperature=0))).adapter == adapter.name
    finally:
        await generator.close()
