"""kill -9 under load: nothing approved is lost, nothing is sent twice, nothing unapproved is sent.

The bot dies once at each named point of `kill_points`. KILLS_IN_TESTS=200 kills it at random points instead: these kills are counted
in bubbles that arrived, so that they land in work, half of them between a send and its answer.
"""

import asyncio
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from bot_scene import BOT, OWNER, Scene, labels, opened
from kill_points import BOT as POINTS
from kill_scene import Program, alive, clear_suspicion, die_at, drain, is_behind, live_and_die

from sandbox.world import Account, Event, Message, Sent

KILLS = int(os.environ.get("KILLS_IN_TESTS", "0"))
CONTACTS = tuple(range(301, 309))
FAULTS = ("drop_before", "drop_after", "flood")


class Load:
    """Contacts who write, and an owner who taps, for as long as it runs."""

    def __init__(self, scene: Scene, chance: random.Random) -> None:
        self.scene = scene
        self.chance = chance
        self.written = 0
        self.seen: set[tuple[int, str]] = set()  # cards as they stood when the owner tapped them

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(0.01, 0.06))
            if await is_behind(self.scene):
                continue
            if self.chance.random() < 0.15:
                contact = self.chance.choice(CONTACTS)
                for _ in range(self.chance.choice((1, 1, 2, 3))):
                    self.written += 1
                    self.scene.writes(f"contact-{self.written}", sender=contact)
            self.decide()

    def decide(self) -> None:
        for card in self.scene.from_bot(OWNER)[-8:]:
            offered = [label for label in labels(card) if label not in ("Edit", "Auto from now on")]
            if not offered or (card.uid, card.text) in self.seen or self.chance.random() < 0.3:
                continue
            self.seen.add((card.uid, card.text))
            if "It arrived" in offered:
                self.settle(card)
                continue
            label = "Send" if "Send" in offered and self.chance.random() < 0.7 else self.chance.choice(offered)
            for _ in range(self.chance.choice((1, 1, 2))):  # some double taps
                self.scene.tap(card, label)

    def settle(self, question: Message) -> None:
        """The owner looks at the contact's chat and says what he sees."""
        words = question.text.split("\n\n")[-1]
        there = any(words in self.scene.seen_by(contact) for contact in CONTACTS)
        self.scene.tap(question, "It arrived" if there else "Send again")


def counts(event: Event) -> bool:
    """A bubble arrived."""
    return isinstance(event, Sent) and event.message.sender_id == BOT and event.message.other(BOT) in CONTACTS


@pytest.mark.slow
@pytest.mark.timeout(120 + 30 * KILLS)
async def test_kills_lose_nothing_and_send_nothing_twice(tmp_path: Path) -> None:
    chance = random.Random(7)
    async with opened(tmp_path, started=False) as scene:
        for contact in CONTACTS:
            scene.world.add_account(Account(contact, f"Contact {contact}"))
        program = Program("bot_process:main", "bot", (str(tmp_path), scene.api.base_url))
        load = Load(scene, chance)
        loading = asyncio.create_task(load.run())
        await (_die_at_random(scene, program, chance) if KILLS else _die_at_each_point(scene, program))
        loading.cancel()
        await asyncio.wait({loading})
        scene.faults.clear()
        async with alive(program):
            await drain(scene, load.settle, scene.is_idle)
        await _compare(scene)


async def _die_at_each_point(scene: Scene, program: Program) -> None:
    for number, point in enumerate(POINTS):
        if number % 2:
            scene.fail("sendMessage", FAULTS[number % 3], 1, skip=number % 8)
        await clear_suspicion(scene, program)
        await die_at(program, point)


async def _die_at_random(scene: Scene, program: Program, chance: random.Random) -> None:
    for _ in range(KILLS):
        if chance.random() < 0.5:
            scene.fail("sendMessage", chance.choice(FAULTS), 1, skip=chance.randrange(8))
        delay = chance.choice((0, 0, chance.uniform(0, 0.1)))
        await live_and_die(scene, program, counts, acts=chance.randint(1, 6), delay=delay)


async def _compare(scene: Scene) -> None:
    bubbles, drafts, decisions = await scene.rows("outbox"), await scene.rows("drafts"), await scene.rows("decisions")
    delivered = Counter(text for contact in CONTACTS for text in scene.seen_by(contact))
    approved = {d["draft_id"] for d in decisions if d["action"] == "send"}
    assert {b["state"] for b in bubbles} == {"sent"}, "an approved bubble never went"
    assert {b["draft_id"] for b in bubbles} == approved
    assert delivered == Counter(b["text"] for b in bubbles), "lost, doubled or unapproved"
    assert {d["state"] for d in drafts} <= {"sent", "rejected", "expired"}
    for contact in CONTACTS:  # in the order of approval
        assert scene.seen_by(contact) == [b["text"] for b in bubbles if b["dialog_id"] == contact]
    kept = {(m["dialog_id"], m["message_id"]) for m in await scene.rows("messages") if not m["out"]}
    sent = {(c, m.ids[BOT]) for c in CONTACTS for m in scene.world.history(c, BOT) if m.sender_id == c}
    assert kept == sent, "a contact's message was lost"
    for contact in CONTACTS:
        newest = max((message_id for dialog_id, message_id in sent if dialog_id == contact), default=0)
        assert not newest or any(d["answers_message_id"] == newest for d in drafts if d["dialog_id"] == contact)
    assert [row for row in await scene.rows("inbox") if row["error"]] == []
