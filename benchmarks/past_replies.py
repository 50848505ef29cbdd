"""How like must a past message be, for the owner's reply to it to belong on a card? Shares of messages for which one is shown.

own      among what the same contact wrote before: what a card does
foreign  among as much that another contact wrote to the owner: chance, for none of it has to do with the message

Three owners of the sample chats, 12 contacts each, 30 messages of each contact's second half.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from itertools import pairwise

from sandbox.samples import OWNER_ID, load_chitchat
from sandbox.world import World
from twin.nearest import LIKE, past_replies
from twin.turns import Message, bursts

OWNERS, CONTACTS, ASKED, FEWEST = (1, 4, 5), 12, 30, 200
BARS = (0.15, 0.25, 0.35, 0.4, 0.5, 0.6)


def chats(rank: int) -> list[list[Message]]:
    world = World()
    sample = load_chitchat(world, rank)

    def read(contact: int) -> list[Message]:
        said = world.history(OWNER_ID, contact)
        return [
            Message("account", contact, i, m.sender_id == OWNER_ID, datetime.fromtimestamp(m.date, UTC), m.text) for i, m in enumerate(said)
        ]

    return [chat for contact in sample.contact_ids[:CONTACTS] if len(chat := read(contact)) >= FEWEST]


def shares(rank: int, chance: random.Random) -> dict[str, dict[float, float]]:
    known = chats(rank)
    best: dict[str, list[float]] = {"own": [], "foreign": []}
    for own, foreign in zip(known, known[1:] + known[:1], strict=True):
        asked = [run for run, reply in pairwise(bursts(own)) if not run[0].out and run[0].message_id > len(own) // 2]
        for burst in chance.sample(asked, min(ASKED, len(asked))):
            before = burst[0].message_id
            for name, history in (("own", own[:before]), ("foreign", foreign[:before])):
                found = past_replies(history, burst, limit=1, like=0.0)
                best[name].append(found[0].likeness if found else 0.0)
    return {name: {bar: sum(likeness >= bar for likeness in found) / len(found) for bar in BARS} for name, found in best.items()}


def main() -> None:
    chance, figures = random.Random(0), {}
    for rank in OWNERS:
        found = figures[rank] = shares(rank, chance)
        print(f"owner {rank}")
        for bar in BARS:
            mark = "  <- twin.nearest.LIKE" if bar == LIKE else ""
            print(f"  {bar:4.2f}  own {found['own'][bar]:4.0%}  foreign {found['foreign'][bar]:4.0%}{mark}")
    own, foreign = (sum(found[name][LIKE] for found in figures.values()) / len(figures) for name in ("own", "foreign"))
    ratio = round(own / foreign, 2)
    print(
        json.dumps(
            {"name": "past_replies", "ratio": ratio, "bar": 2, "holds": ratio >= 2, "own": round(own, 3), "foreign": round(foreign, 3)}
        )
    )


if __name__ == "__main__":
    main()
