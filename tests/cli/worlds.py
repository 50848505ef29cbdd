"""A world file with three talkative people, small enough to train on in seconds."""

from __future__ import annotations

import random
from pathlib import Path

from sandbox.samples import OWNER_ID, add_bot, dump_world
from sandbox.world import Account, World

NAMES = ("Robin", "Ada", "Ben", "Cleo")
# Words that even the small vocabulary of trainer/small_models has whole, so that a model of two layers learns them in seconds.
TOPICS = ("work", "food", "home", "water", "school", "family", "book", "story", "land", "paper", "light", "year")
OTHERS = (
    *("art", "plan", "text", "sing", "point", "heart", "car", "time", "power", "body", "hand", "group", "world", "level"),
    *("design", "record", "story", "change", "state", "future", "result", "test"),
)
QUESTIONS = 40


def exchange(number: int, place: int) -> tuple[str, tuple[str, str]]:
    """The question of this number of the contact at this place, and the owner's two messages: always the same sentences, about what
    was asked and about three things by chance, so that no answer can be learned by heart."""
    topic = TOPICS[(number * 5 + place) % len(TOPICS)]
    one, two, three = random.Random(f"{number} {place}").sample(OTHERS, 3)
    return f"how is the {topic} {number % 40}?", (f"the {topic} is good", f"and so is the {one} the {two} and the {three}")


def save_small_talk(path: Path, *, questions: int = QUESTIONS, days_between: int = 0) -> Path:
    """`days_between`: of silence after every fourth question, which makes conversations of them."""
    world = World()
    people = [world.add_account(Account(OWNER_ID + i, name, username=name.lower(), phone=f"99966{i:05}")) for i, name in enumerate(NAMES)]
    add_bot(world)
    owner, *contacts = people
    at = int(world.clock()) - 60 * 86_400
    for i in range(questions):
        for place, contact in enumerate(contacts):
            asked, answered = exchange(i, place)
            world.send(contact.id, owner.id, asked, date=at, silent=True)
            for seconds, bubble in zip((40, 45), answered, strict=True):
                world.send(owner.id, contact.id, bubble, date=at + seconds, silent=True)
            at += 900
        at += days_between * 86_400 if i % 4 == 3 else 0
    dump_world(world, path, owner_id=owner.id)
    return path
