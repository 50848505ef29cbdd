"""A world file with three talkative people, small enough to train on in seconds."""

from __future__ import annotations

from pathlib import Path

from sandbox.samples import OWNER_ID, add_bot, dump_world
from sandbox.world import Account, World

NAMES = ("Robin", "Ada", "Ben", "Cleo")
TOPICS = ("tea", "rain", "train", "dog", "music", "work", "bread", "sea", "snow", "book", "car", "garden")
QUESTIONS = 40


def save_small_talk(path: Path, *, questions: int = QUESTIONS, days_between: int = 0) -> Path:
    """`days_between`: of silence after every fourth question, which makes conversations of them."""
    world = World()
    people = [world.add_account(Account(OWNER_ID + i, name, username=name.lower(), phone=f"99966{i:05}")) for i, name in enumerate(NAMES)]
    add_bot(world)
    owner, *contacts = people
    at = int(world.clock()) - 60 * 86_400
    for i in range(questions):
        for place, contact in enumerate(contacts):
            topic = TOPICS[(i * 5 + place) % len(TOPICS)]
            world.send(contact.id, owner.id, f"how is the {topic} {i}?", date=at, silent=True)
            world.send(owner.id, contact.id, f"the {topic} is fine", date=at + 40, silent=True)
            world.send(owner.id, contact.id, f"and {i} is a number", date=at + 45, silent=True)
            at += 900
        at += days_between * 86_400 if i % 4 == 3 else 0
    dump_world(world, path, owner_id=owner.id)
    return path
