"""kill -9 in every stage of a night: the active adapter stays and answers, nothing half-written is read as whole, the next run ends.

Each kill lands at a named point (dying_twin.py). KILLS_IN_TESTS=20 kills each stage twenty times at random moments instead (a quarter
of an hour): a stage is awaited in the run's own row, then the night is killed after a share of the time that it took in a whole one.
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

KILLS = int(os.environ.get("KILLS_IN_TESTS", "0"))
DYING = Path(__file__).with_name("dying_twin.py")
POINTS = ("collect:0", "collect:0.5", "dataset:0.5", "train:0.4", "evaluate:0.5", "promote:0", "promote:1")
STAGES = ("collect", "dataset", "train", "evaluate", "promote")
ASKED = (system_turn("Robin", "Ada"), Turn("user", "how is the tea 7?"))
GONE_SECONDS = 20

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 + 1500 * KILLS)]


@pytest.mark.skipif(KILLS > 0, reason="KILLS_IN_TESTS asks for random moments")
def test_a_night_killed_at_each_point_costs_nothing(next_nights: Nights, tiny: Path) -> None:
    nights, first = next_nights, next_nights.played[-1]["adapter"]
    world = Growing(nights, known=on_store(nights.data, stored))
    world.grow(15)
    for point in POINTS:
        process = start(nights, DYING, "nightly", "--items", str(ITEMS), TWIN_TEST_DIE_AT=point)
        assert process.wait(300) == -signal.SIGKILL, f"{point}: {log_of(nights).read_text()}"
        assert_all_gone(nights)
        is_promoted = point == "promote:1"
        assert (nights.live() != first) == is_promoted, point
        asyncio.run(look(nights, tiny))
    live = nights.live()
    assert nights.play()["outcome"] == "nothing new", "the killed night had switched before it was killed"
    assert nights.live() == live
    assert on_store(nights.data, stored) == world.known, "as many as the server has: none lost, none twice"


@pytest.mark.skipif(KILLS == 0, reason="KILLS_IN_TESTS says how many random kills a stage gets")
def test_nights_killed_at_random_moments_cost_nothing(next_nights: Nights, tiny: Path) -> None:
    nights, chance = next_nights, random.Random(4)
    world = Growing(nights, known=on_store(nights.data, stored))
    world.grow(15)
    usual = {stage["name"]: stage["seconds"] for stage in nights.play_apart()["stages"]} | {"promote": 2.0}
    for name in STAGES:
        for _ in range(KILLS):
            live = nights.live()
            while not killed(world, name, chance.uniform(0, usual[name])):
                assert world.talked < 1000 * KILLS, f"no kill landed in {name}"
            assert nights.live() == live or name == "promote"
            asyncio.run(look(nights, tiny))
    world.grow()
    nights.play()
    asyncio.run(look(nights, tiny))
    assert on_store(nights.data, stored) == world.known, "as many as the server has: none lost, none twice"


@dataclass
class Growing:
    """People go on talking, so that every night has something to learn. `known`: messages on the server."""

    nights: Nights
    known: int
    talked: int = 80

    def grow(self, count: int = 5) -> None:
        said = small_talk(self.talked, count)
        self.talked += count
        self.known += len(said)
        say(self.nights.sandbox, said)


async def stored(connection: AsyncConnection) -> int:
    return sum(count for count, _ in (await messages.counts(connection, channel="account")).values())


def start(nights: Nights, program: str | Path, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    module = ("-m", program) if isinstance(program, str) else (str(program),)
    command = [sys.executable, *module, *arguments, "--json", "--data", str(nights.data)]
    paths = os.pathsep.join([os.environ.get("PYTHONPATH", ""), *filter(None, sys.path)])
    with log_of(nights).open("wb") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, env=os.environ | {"PYTHONPATH": paths, **environment}
        )


def log_of(nights: Nights) -> Path:
    """What the process that is killed says."""
    return nights.data.parent / "killed.log"


def assert_all_gone(nights: Nights) -> None:
    """What a killed night has started ends with it: a job names its folder on its command line."""

    def left() -> list[int]:
        return [p.pid for p in psutil.process_iter(["cmdline"]) if "twin.cli.worker" in (words := p.info["cmdline"] or []) and ours(words)]

    def ours(words: list[str]) -> bool:
        return any(str(nights.data) in word for word in words)

    deadline = time.monotonic() + GONE_SECONDS
    while left():
        assert time.monotonic() < deadline, "what it started outlives it"
        time.sleep(0.05)


def killed(world: Growing, stage: str, seconds: float) -> bool:
    """Kill a night, or the promotion by hand of its candidate, so long into the stage. False if it ended before."""
    nights, data = world.nights, world.nights.data
    world.grow()
    is_by_hand = stage == "promote"
    command = ["adapters", "promote", str(nights.play()["adapter"])] if is_by_hand else ["nightly", "--items", str(ITEMS)]
    before = newest_run(data)
    process = start(nights, "twin", *command)
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
    assert process.returncode == 0, f"{stage}: {log_of(nights).read_text()}"
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
