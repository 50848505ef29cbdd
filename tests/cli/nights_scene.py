"""Nights against a Telegram in which people go on writing: real chats, whose last messages are held back and said later."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cli_scene import on_store, sign_in_code, start_twin, twin
from worlds import NAMES, TOPICS

from sandbox.samples import OWNER_ID, add_bot, dump_world, load_chitchat
from sandbox.world import World
from twin.store import runs


@dataclass(frozen=True)
class Said:
    sender: int
    receiver: int
    text: str


ITEMS = 40  # replies that a night tests


@dataclass
class Nights:
    sandbox: dict[str, Any]
    data: Path
    played: list[dict[str, Any]]

    def play(self, *more: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "twin", "nightly", "--json", "--items", str(ITEMS), "--data", str(self.data), *more]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        except subprocess.TimeoutExpired as exc:
            run = on_store(self.data, runs.newest)
            raise AssertionError(f"a night hangs in {run.stage if run else 'nothing'}: {run and run.progress}") from exc
        assert done.returncode == 0, done.stderr + done.stdout
        self.played.append(json.loads(done.stdout))
        return self.played[-1]

    def play_and_promote(self) -> dict[str, Any]:
        """A night whose adapter goes live: by itself, or by hand. Two random layers need not pass the gate to show the rest."""
        night = self.play()
        passed = night["gate"]["passed"]
        assert (night["outcome"], night["promoted"]) == (("promoted", True) if passed else ("refused", False))
        assert self.live() == (night["adapter"] if passed else night["parent"]), "a refused one does not go live"
        if not passed:
            assert twin("adapters", "promote", night["adapter"], "--data", self.data).code == 0
        assert self.live() == night["adapter"]
        return night

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
            topic, contact = TOPICS[(i * 5 + place) % len(TOPICS)], OWNER_ID + 1 + place
            said.append(Said(contact, OWNER_ID, f"how is the {topic} {i}?"))
            said += [Said(OWNER_ID, contact, text) for text in (f"the {topic} is fine", f"and {i} is a number")]
    return said
