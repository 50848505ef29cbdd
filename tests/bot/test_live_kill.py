"""kill -9 at random points while contacts write to the owner's account and answers go out through the live session.

KILLS_IN_TESTS scales it: a quarter of them. Kills are counted in bubbles that arrived, half of them fall between a send and its
answer. Connections break, answers get lost, Telegram asks to wait, and the owner writes by hand in between.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from bot_scene import OWNER, labels
from live_scene import LiveScene, live

from sandbox.world import Account, Event, Message, Sent

KILLS = max(5, int(os.environ.get("KILLS_IN_TESTS", "10")) // 4)
CONTACTS = tuple(range(301, 307))
PROCESS = Path(__file__).with_name("live_process.py")
FAULTS = (("drop_before", None), ("drop_after", None), ("flood", 1), ("error", [500, "INTERNAL"]))


class Load:
    """Contacts who write, edit and delete, and an owner who taps and now and then writes himself."""

    def __init__(self, scene: LiveScene, chance: random.Random) -> None:
        self.scene, self.chance = scene, chance
        self.written = 0
        self.seen: set[tuple[int, str]] = set()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(0.02, 0.1))
            self.act(self.chance.choice(CONTACTS), self.chance.random())
            self.decide()

    def act(self, contact: int, lot: float) -> None:
        self.written += 1
        theirs = [m for m in self.scene.world.history(OWNER, contact)[-4:] if m.sender_id == contact]
        if lot < 0.25:
            self.scene.contact_writes(f"contact-{self.written}", sender=contact)
        elif lot < 0.28 and theirs:
            self.scene.world.edit(theirs[-1], text=f"edited-{self.written}")
        elif lot < 0.31 and theirs:
            self.scene.world.delete(theirs[-1:])
        elif lot < 0.33:
            self.scene.owner_writes(f"owner-{self.written}", to=contact)

    def decide(self) -> None:
        for card in self.scene.from_bot(OWNER)[-8:]:
            if "Send" in labels(card) and (card.uid, card.text) not in self.seen and self.chance.random() < 0.7:
                self.seen.add((card.uid, card.text))
                self.scene.tap(card, "Send")


@asynccontextmanager
async def _alive(scene: LiveScene, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A bot in a process of its own, from the moment when it polls."""
    paths = os.pathsep.join((str(PROCESS.parent), str(PROCESS.parent.parent.parent)))
    telegram = scene.settings.telegram
    arguments = [str(folder), scene.api.base_url, str(telegram.server), str(telegram.server_key)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROCESS), *arguments, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}
    )
    try:
        assert process.stdout
        assert await asyncio.wait_for(process.stdout.readline(), 120) == b"READY\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _is_sent(event: Event) -> bool:
    return isinstance(event, Sent) and event.message.sender_id == OWNER and event.message.random_id is not None


async def _live_and_die(scene: LiveScene, folder: Path, *, sends: int, delay: float) -> None:
    loop = asyncio.get_running_loop()
    async with _alive(scene, folder) as process:
        left = sends

        def hear(event: Event) -> None:
            nonlocal left
            if _is_sent(event):
                left -= 1
                if left == 0:
                    loop.call_later(delay, process.kill) if delay else process.kill()

        unsubscribe = scene.world.subscribe(hear)
        try:
            assert await asyncio.wait_for(process.wait(), 90) == -signal.SIGKILL, "it died by itself"
        finally:
            unsubscribe()


@pytest.mark.slow
@pytest.mark.timeout(150 + 30 * KILLS)
async def test_kills_of_a_live_session_lose_nothing_and_send_nothing_twice(tmp_path: Path) -> None:
    chance = random.Random(11)
    async with live(tmp_path, started=False) as scene:
        for contact in CONTACTS:
            scene.world.add_account(Account(contact, f"Contact {contact}"))
        async with _alive(scene, tmp_path):  # the first start: what was before is left alone
            await scene.connected()
        load = Load(scene, chance)
        loading = asyncio.create_task(load.run())
        for _ in range(KILLS):
            scene.server.duplicate_random_id = chance.choice(("answer", "error"))
            for method in ("SendMessage", "GetDifference"):
                if chance.random() < 0.5:
                    action, arg = chance.choice(FAULTS)
                    scene.fail(method, action, arg, skip=chance.randrange(6))
            await _live_and_die(scene, tmp_path, sends=chance.randint(1, 5), delay=chance.choice((0, 0, chance.uniform(0, 0.1))))
        loading.cancel()
        await asyncio.wait({loading})
        scene.faults.clear()
        async with _alive(scene, tmp_path):
            await _drain(scene)
        await _compare(scene)


def settle(scene: LiveScene, question: Message) -> None:
    """The owner looks into the chats and says what he sees."""
    words = question.text.split("\n\n")[-1]
    there = any(m.text == words for contact in CONTACTS for m in scene.world.history(OWNER, contact) if m.sender_id == OWNER)
    scene.tap(question, "It arrived" if there else "Send again")


async def _drain(scene: LiveScene) -> None:
    """Until the owner has nothing left to tap on and the bot nothing to do."""
    deadline = time.monotonic() + 90
    while True:
        assert time.monotonic() < deadline, "it did not come to rest"
        left = [card for card in scene.from_bot(OWNER) if {"Send", "It arrived"} & set(labels(card))]
        if not left and await scene.is_current() and await scene.is_idle():
            return
        for card in left:
            if "Send" in labels(card):
                scene.tap(card, "Send")
            else:
                settle(scene, card)
        await asyncio.sleep(0.3)


async def _compare(scene: LiveScene) -> None:
    bubbles, decisions = await scene.rows("outbox"), await scene.rows("decisions")
    history: dict[int, list[Message]] = {contact: scene.world.history(OWNER, contact) for contact in CONTACTS}
    by_twin = {contact: [m for m in told if m.random_id is not None] for contact, told in history.items()}
    delivered = Counter(m.text for told in by_twin.values() for m in told)
    sent = [b for b in bubbles if b["state"] == "sent"]
    assert len(sent) > KILLS, "it hardly worked"
    assert delivered == Counter(b["text"] for b in sent), "lost, doubled or unapproved"
    assert {b["draft_id"] for b in sent} <= {d["draft_id"] for d in decisions if d["action"] == "send"}
    assert {b["state"] for b in bubbles} <= {"sent", "cancelled", "failed"}
    for bubble in bubbles:  # an approved bubble is kept back by the owner's own words only
        if bubble["state"] != "sent":
            assert any(m.text.startswith("owner-") for m in history[bubble["dialog_id"]]), "an approved bubble never went"
    rows = [r for r in await scene.rows("messages") if r["channel"] == "account" and r["deleted_at"] is None]
    kept = {(r["dialog_id"], r["message_id"], r["text"], r["source"]) for r in rows}
    there = {(c, m.ids[OWNER], m.text, "twin" if m.random_id is not None else "collected") for c in CONTACTS for m in history[c]}
    assert kept == there, "the store does not tell what happened in the owner's chats"
    for contact, told in history.items():
        if told and told[-1].sender_id == contact:
            assert any(d["answers_message_id"] >= told[-1].ids[OWNER] for d in await scene.rows("drafts") if d["dialog_id"] == contact)
