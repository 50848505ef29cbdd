"""kill -9 while contacts write to the owner's account and answers go out through the live session.

The bot dies once at each named point of `kill_points`. With KILLS_IN_TESTS=200 it dies a quarter as often at random points instead:
these kills are counted in bubbles that arrived, half of them fall between a send and its answer. Connections break, answers get lost,
Telegram asks to wait, and the owner writes by hand in between.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from bot_scene import OWNER, labels
from kill_points import SESSION as POINTS
from kill_scene import Program, alive, clear_suspicion, die_at, drain, live_and_die
from live_scene import LiveScene, live

from sandbox.world import Account, Event, Message, Sent

AT_RANDOM = "KILLS_IN_TESTS" in os.environ
KILLS = max(5, int(os.environ.get("KILLS_IN_TESTS", "0")) // 4) if AT_RANDOM else len(POINTS)
CONTACTS = tuple(range(301, 307))
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


def _is_sent(event: Event) -> bool:
    return isinstance(event, Sent) and event.message.sender_id == OWNER and event.message.random_id is not None


@pytest.mark.slow
@pytest.mark.timeout(150 + 30 * KILLS)
async def test_kills_of_a_live_session_lose_nothing_and_send_nothing_twice(tmp_path: Path) -> None:
    chance = random.Random(11)
    async with live(tmp_path, started=False) as scene:
        for contact in CONTACTS:
            scene.world.add_account(Account(contact, f"Contact {contact}"))
        telegram = scene.settings.telegram
        arguments = str(tmp_path), scene.api.base_url, str(telegram.server), str(telegram.server_key)
        program = Program("live_process:main", "session", arguments)
        async with alive(program):  # the first start: what was before is left alone
            await scene.connected()
        load = Load(scene, chance)
        loading = asyncio.create_task(load.run())
        await (_die_at_random(scene, program, chance) if AT_RANDOM else _die_at_each_point(scene, program))
        loading.cancel()
        await asyncio.wait({loading})
        scene.faults.clear()

        async def is_idle() -> bool:
            return await scene.is_current() and await scene.is_idle()

        async with alive(program):
            await drain(scene, partial(settle, scene), is_idle)
        await _compare(scene, KILLS)


async def _die_at_each_point(scene: LiveScene, program: Program) -> None:
    for number, point in enumerate(POINTS):
        scene.server.duplicate_random_id = ("answer", "error")[number % 2]
        action, arg = FAULTS[number // 2 % 4]
        scene.fail(("SendMessage", "GetDifference")[number % 2], action, arg, skip=number % 3)
        await clear_suspicion(scene, program)
        await die_at(program, point)


async def _die_at_random(scene: LiveScene, program: Program, chance: random.Random) -> None:
    for _ in range(KILLS):
        scene.server.duplicate_random_id = chance.choice(("answer", "error"))
        for method in ("SendMessage", "GetDifference"):
            if chance.random() < 0.5:
                action, arg = chance.choice(FAULTS)
                scene.fail(method, action, arg, skip=chance.randrange(6))
        delay = chance.choice((0, 0, chance.uniform(0, 0.1)))
        await live_and_die(scene, program, _is_sent, acts=chance.randint(1, 5), delay=delay)


def settle(scene: LiveScene, question: Message) -> None:
    """The owner looks into the chats and says what he sees."""
    words = question.text.split("\n\n")[-1]
    there = any(m.text == words for contact in CONTACTS for m in scene.world.history(OWNER, contact) if m.sender_id == OWNER)
    scene.tap(question, "It arrived" if there else "Send again")


async def _compare(scene: LiveScene, kills: int) -> None:
    bubbles, decisions = await scene.rows("outbox"), await scene.rows("decisions")
    history: dict[int, list[Message]] = {contact: scene.world.history(OWNER, contact) for contact in CONTACTS}
    by_twin = {contact: [m for m in told if m.random_id is not None] for contact, told in history.items()}
    delivered = Counter(m.text for told in by_twin.values() for m in told)
    sent = [b for b in bubbles if b["state"] == "sent"]
    assert len(sent) > kills, "it hardly worked"
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
