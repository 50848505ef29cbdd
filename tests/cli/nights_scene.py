"""Nights against a Telegram in which people go on writing: real chats, whose last messages are held back and said later."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_scene import answers_for, on_store, running_sandbox, sign_in_code, start_twin, twin
from jobs_here import run_in_this_process
from worlds import NAMES, exchange

from sandbox.samples import OWNER_ID, add_bot, dump_world, load_chitchat
from sandbox.world import World
from twin.cli import launchers
from twin.store import runs


@dataclass(frozen=True)
class Said:
    sender: int
    receiver: int
    text: str


QUESTIONS = 80  # that each contact of the world has asked
ITEMS = 40  # replies that a night tests
RECIPE = {"R": "8", "ALPHA": "16", "LEARNING_RATE": "1e-2", "BATCH_TOKENS": "256", "EPOCHS": "2", "INCREMENTAL_RATE": "1"}
LATER_EPOCHS = "4"  # of the nights after the first: what they learn is little and much like what is known
SETTINGS = {
    **{f"TWIN_TRAINING__{name}": value for name, value in RECIPE.items()},
    "TWIN_ENGINE__TEMPERATURE": "0.8",
    "TWIN_GATE__CHANCE": "1e-6",  # thirty answers of a model of two layers: what they seem to have lost depends on how a CPU rounds
    "TWIN_ENGINE__MAX_NEW_TOKENS": "24",
    "TWIN_DATASET__REPEAT_CAP": "500",
    "TWIN_DATASET__ANCHOR_FRACTION": "0.2",
}


@dataclass
class Nights:
    sandbox: dict[str, Any]
    data: Path
    played: list[dict[str, Any]]

    def play(self, *more: str) -> dict[str, Any]:
        """A night in this process, and its jobs too if `telegram` made them so."""
        ran = twin("nightly", "--json", "--items", ITEMS, "--data", self.data, *more)
        assert ran.code == 0, ran.err + ran.out
        self.played.append(ran.document)
        return self.played[-1]

    def play_apart(self, *more: str) -> dict[str, Any]:
        """A night in processes of its own, as the scheduler starts it."""
        command = [sys.executable, "-m", "twin", "nightly", "--json", "--items", str(ITEMS), "--data", str(self.data), *more]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        except subprocess.TimeoutExpired as exc:
            run = on_store(self.data, runs.newest)
            raise AssertionError(f"a night hangs in {run.stage if run else 'nothing'}: {run and run.progress}") from exc
        assert done.returncode == 0, done.stderr + done.stdout
        self.played.append(json.loads(done.stdout))
        return self.played[-1]

    def promote(self) -> None:
        """Let the newest night's adapter go live, whatever the gate said of it."""
        assert twin("adapters", "promote", self.played[-1]["adapter"], "--data", self.data).code == 0

    def copy_to(self, data: Path) -> None:
        """The data folder as it is, without the session, which opens this sandbox and no other."""
        shutil.copytree(self.data, data, ignore=shutil.ignore_patterns("*.session*", "*.lock"))
        with closing(sqlite3.connect(data / "twin.sqlite")) as db, db:
            db.execute("UPDATE adapters SET path = replace(path, ?, ?)", (str(self.data), str(data)))

    def live(self) -> str | None:
        listed = twin("adapters", "--json", "--data", self.data)
        assert listed.code == 0, listed.out
        name: str | None = listed.document["active"]
        return name

    def failed(self) -> list[str]:
        return [check["name"] for check in self.played[-1]["gate"]["checks"] if not check["holds"]]


def save_chats(path: Path, *, contacts: Sequence[int], later: int) -> list[Said]:
    """A world file with the sample owner's chats with the contacts of these ranks; what was said last is given back instead."""
    whole = World()
    sample = load_chitchat(whole)
    people = {sample.contact_ids[rank] for rank in contacts}
    lines = [m for m in whole.messages.values() if isinstance(m.chat, frozenset) and m.other(OWNER_ID) in people and not m.service]
    lines.sort(key=lambda m: (m.date, m.uid))
    old, new = lines[:-later], lines[-later:]
    world = World()
    for account in (OWNER_ID, *sorted(people)):
        world.add_account(whole.account(account))
    add_bot(world)
    moved = int(world.clock()) - 3 * 86_400 - old[-1].date  # three days ago, so that what comes now is a new conversation
    for m in old:
        receiver = m.other(OWNER_ID) if m.sender_id == OWNER_ID else OWNER_ID
        world.send(m.sender_id, receiver, m.text, date=m.date + moved, silent=True)
    dump_world(world, path, owner_id=OWNER_ID)
    return [Said(m.sender_id, m.other(OWNER_ID) if m.sender_id == OWNER_ID else OWNER_ID, m.text) for m in new]


def shuffled(said: Sequence[Said], seed: int = 1) -> list[Said]:
    """The same people, as many words, no sense: all words of all messages drawn anew."""
    words = [word for line in said for word in line.text.split()]
    random.Random(seed).shuffle(words)
    rows = []
    for line in said:
        count = len(line.text.split())
        rows.append(Said(line.sender, line.receiver, " ".join(words[:count])))
        words = words[count:]
    return rows


def say(sandbox: dict[str, Any], said: Sequence[Said]) -> None:
    """Send them now, in order."""
    with httpx.Client(base_url=sandbox["page"], timeout=30) as page:
        for line in said:
            page.post("/api/send", json={"from": line.sender, "to": line.receiver, "text": line.text}).raise_for_status()


@contextmanager
def telegram(folder: Path, world: Path, base: Path, patch: pytest.MonkeyPatch, data: Path) -> Iterator[Nights]:
    """A Telegram with this world in it, the owner signed in, everybody agreed, jobs in this process."""
    with running_sandbox(folder, world) as sandbox:
        for name, value in (answers_for(sandbox) | SETTINGS | {"TWIN_MODEL__BASE": str(base)}).items():
            patch.setenv(name, value)
        patch.setattr(launchers, "_run_here", run_in_this_process)
        settle(sandbox, data, folder)
        yield Nights(sandbox, data, [])


def settle(sandbox: dict[str, Any], data: Path, folder: Path) -> None:
    """Sign the owner in, collect, and let everybody consent."""
    process = start_twin("init", "--non-interactive", "--accept-terms", "--data", data, cwd=folder, env=dict(os.environ))
    _, err = process.communicate(sign_in_code(sandbox) + "\n", timeout=120)
    assert process.returncode == 0, err
    assert twin("collect", "--json").code == 0
    assert twin("contacts", "--all", "--consent", "given", "--words", "yes, do", "--yes").code == 0


def small_talk(first: int, count: int) -> list[Said]:
    """More of what the world has."""
    said = []
    for i in range(first, first + count):
        for place in range(len(NAMES) - 1):
            contact, (asked, answered) = OWNER_ID + 1 + place, exchange(i, place)
            said += [Said(contact, OWNER_ID, asked), *(Said(OWNER_ID, contact, bubble) for bubble in answered)]
    return said
