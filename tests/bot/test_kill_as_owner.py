"""kill -9 while the twin answers as the owner through a business connection, on approve and on auto, and the owner takes over now and then.

Nothing approved is lost unless the owner took over, nothing is sent twice, nothing goes that neither he nor the rules approved, and
what was taken back is gone. The bot dies once at each named point of `kill_points`, with KILLS_IN_TESTS=200 at random ones instead.
"""

import asyncio
import os
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from bot_scene import OWNER, Scene, labels, opened
from kill_points import BUSINESS as POINTS
from kill_scene import Program, alive, clear_suspicion, die_at, drain, is_behind, live_and_die

from sandbox.world import Account, Event, Message, Sent
from twin.store.tables import dialogs

KILLS = int(os.environ.get("KILLS_IN_TESTS", "0"))
CONTACTS = tuple(range(301, 309))
ON_AUTO = CONTACTS[4:]
TAPS = ("Send", "Another", "Skip", "Undo", "It arrived")
FAULTS = ("drop_before", "drop_after", "flood")
ECHO_SECONDS = 1.0  # a bot that dies at a point has no request on its way, so no echo comes late


class Load:
    """Contacts who write to the owner, and the owner, who taps, takes back, and sometimes writes himself."""

    def __init__(self, scene: Scene, chance: random.Random) -> None:
        self.scene = scene
        self.chance = chance
        self.written = 0
        self.seen: set[tuple[int, str, str]] = set()
        self.undoes = 0.1  # of the offers to do so
        self.types = 0.01  # of the moments

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(0.01, 0.06))
            if await is_behind(self.scene):
                continue
            lot, contact = self.chance.random(), self.chance.choice(CONTACTS)
            if lot < 0.15:
                for _ in range(self.chance.choice((1, 1, 2, 3))):
                    self.written += 1
                    self.scene.whispers(f"contact-{self.written}", sender=contact)
            elif lot < 0.15 + self.types:
                self.written += 1
                self.scene.types(f"owner-{self.written}", to=contact)
            self.decide()

    def decide(self) -> None:
        for card in self.scene.from_bot(OWNER)[-10:]:
            offered = [label for label in TAPS if label in labels(card)]
            if not offered or self.chance.random() < 0.3:
                continue
            label = self.chance.choice(offered) if self.chance.random() < 0.3 else offered[0]
            if (label == "Undo" and self.chance.random() >= self.undoes) or (card.uid, card.text, label) in self.seen:
                continue
            self.seen.add((card.uid, card.text, label))
            if label == "It arrived":
                self.settle(card)
            else:
                for _ in range(self.chance.choice((1, 1, 2))):
                    self.scene.tap(card, label)

    def settle(self, question: Message) -> None:
        words = question.text.split("\n\n")[-1]
        there = any(words in self.scene.chat(contact) for contact in CONTACTS)
        self.scene.tap(question, "It arrived" if there else "Send again")


def by_the_twin(scene: Scene, contact: int) -> list[str]:
    return [m.text for m in scene.world.history(OWNER, contact) if m.business_connection_id]


def counts(event: Event) -> bool:
    return isinstance(event, Sent) and event.message.business_connection_id is not None


@pytest.mark.slow
@pytest.mark.timeout(180 + 40 * KILLS)
async def test_kills_while_answering_as_the_owner(tmp_path: Path) -> None:
    chance = random.Random(11)
    async with opened(tmp_path, started=False) as scene:
        for contact in CONTACTS:
            scene.world.add_account(Account(contact, f"Contact {contact}"))
        async with scene.store.begin() as connection:
            rows = [{"dialog_id": c, "name": f"Contact {c}", "mode": "auto" if c in ON_AUTO else None} for c in CONTACTS]
            await connection.execute(dialogs.insert(), rows)
        scene.connects()
        program = Program("bot_process:main", "business", (str(tmp_path), scene.api.base_url))
        load = Load(scene, chance)
        loading = asyncio.create_task(load.run())
        await (_die_at_random(scene, program, chance) if KILLS else _die_at_each_point(scene, program, load))
        loading.cancel()
        await asyncio.wait({loading})
        scene.faults.clear()
        async with alive(program):
            await drain(scene, load.settle, scene.is_idle)
        await _compare(scene)


async def _die_at_each_point(scene: Scene, program: Program, load: Load) -> None:
    program = replace(program, arguments=(*program.arguments, ECHO_SECONDS))
    for number, point in enumerate(POINTS):
        load.undoes = 1.0 if "taken back" in point else 0.1
        load.types = 0.2 if "owner's own" in point else 0.01
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
    assert {b["state"] for b in bubbles} <= {"sent", "cancelled", "retracted"}, Counter(b["state"] for b in bubbles)
    approved = {d["draft_id"]: d["action"] for d in decisions if d["action"] in ("send", "auto")}
    assert {b["draft_id"] for b in bubbles} <= approved.keys(), "unapproved"
    assert {"send", "auto"} <= set(approved.values()), "both modes were in it"
    for contact in CONTACTS:  # once each, and in the order of approval
        there = [b["text"] for b in bubbles if b["dialog_id"] == contact and b["state"] == "sent"]
        assert by_the_twin(scene, contact) == there, "lost, doubled or unapproved"
    reasons = {d["id"]: d["reason"] for d in drafts}
    for bubble in bubbles:
        if bubble["state"] == "cancelled":
            allowed = {"taken over", "taken back"} | ({"superseded"} if approved[bubble["draft_id"]] == "auto" else set())
            assert reasons[bubble["draft_id"]] in allowed, reasons[bubble["draft_id"]]
    assert {d["state"] for d in drafts} <= {"sent", "rejected", "expired"}
    kept = {(m["dialog_id"], m["message_id"]): m for m in await scene.rows("messages")}
    for contact in CONTACTS:
        for message in scene.world.history(OWNER, contact):
            row = kept[contact, message.ids[OWNER]]
            ours = "twin" if message.business_connection_id else "business"
            assert (row["text"], row["source"]) == (message.text, ours), "a message was lost, or mistaken for another's"
    assert [row for row in await scene.rows("inbox") if row["error"]] == []
