"""kill -9 anywhere in a collection, half of them beside a lost connection: the rows are the server's, none lost, none twice.

The collecting process dies once at each named point of `kill_points`, with KILLS_IN_TESTS=200 at random ones instead. A first import
through an export is under way; between two kills a contact writes, a message of the last days is edited and one is deleted.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time

import pytest
from forked import Child, fork
from kill_points import COLLECTING as POINTS
from telegram_scene import KEY, calls, in_store, keys, on_server, serving, signed_in

from sandbox.faults import Fault
from sandbox.mtproto import MtprotoServer
from sandbox.samples import OWNER_ID
from sandbox.world import Account, Message, World
from twin.settings import Settings
from twin.store import open_store

AT_RANDOM = "KILLS_IN_TESTS" in os.environ
KILLS = int(os.environ["KILLS_IN_TESTS"]) if AT_RANDOM else len(POINTS)
CONTACTS = range(OWNER_ID + 1, OWNER_ID + 13)
EACH = 60 * KILLS if AT_RANDOM else 100  # messages a chat: more than so many broken-off runs can read
RECENT = 40  # of them, within the days that are read again
DAY = 86_400


def large_world() -> World:
    world = World()
    world.add_account(Account(OWNER_ID, "Olga", phone="+10000000001"))
    for contact in CONTACTS:
        world.add_account(Account(contact, f"Contact {contact}"))
    now = int(time.time())
    for i in range(EACH):
        date = now - 60 * DAY + i if i < EACH - RECENT else now - DAY // 2 + i
        for contact in CONTACTS:
            sender, to = (OWNER_ID, contact) if i % 2 else (contact, OWNER_ID)
            world.send(sender, to, f"line {i} of {contact}", date=date, silent=True)
    return world


def go_on_living(world: World, dice: random.Random, number: int) -> None:
    """A new message, an edit and a deletion, the last two among what is followed."""
    world.send(dice.choice(CONTACTS), OWNER_ID, f"news {number}", silent=True)
    world.edit(recent(world, dice), text=f"edited {number}")
    world.delete([recent(world, dice)])


def recent(world: World, dice: random.Random) -> Message:
    return dice.choice(world.history(OWNER_ID, dice.choice(CONTACTS))[-RECENT // 2 :])


async def start_worker(settings: Settings, dies_at: str = "") -> Child:
    telegram = settings.telegram
    return await fork("collect_worker:main", dies_at, str(settings.data), telegram.server, str(telegram.server_key), KEY)


async def kill_at(worker: Child, server: MtprotoServer, requests: int, jitter_seconds: float) -> None:
    """Kill the worker a moment after its n-th request arrived, whatever it asked for."""
    before, deadline = len(server.calls), time.monotonic() + 60
    while len(server.calls) - before < requests:
        assert worker.is_alive, await worker.hear()
        assert time.monotonic() < deadline, "the worker did not get there"
        await asyncio.sleep(0.001)
    await asyncio.sleep(jitter_seconds)
    worker.kill()
    assert await worker.wait() == -9


def state_on_disk(settings: Settings) -> tuple[int, dict[int, tuple[int, int]]]:
    """(rows, dialog id -> (watermark, highest row)) as any other program reads it, after a check of the file."""
    with sqlite3.connect(settings.store_path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = db.execute("SELECT count(*) FROM messages").fetchone()[0]
        query = "SELECT d.dialog_id, d.watermark, max(m.message_id) FROM dialogs d LEFT JOIN messages m USING (dialog_id) GROUP BY 1"
        found = {dialog_id: (watermark, highest or 0) for dialog_id, watermark, highest in db.execute(query)}
    db.close()
    return rows, found


def read_to_the_end(world: World, places: dict[int, tuple[int, int]]) -> int:
    """How many chats have nothing left but what is read again: a request each before a run gets to work."""
    return sum(places.get(contact, (0, 0))[0] >= world.history(OWNER_ID, contact)[-1].ids[OWNER_ID] - RECENT for contact in CONTACTS)


@pytest.mark.slow
@pytest.mark.timeout(120 + 30 * KILLS)
async def test_kills_lose_nothing_and_double_nothing(tmp_path):
    dice = random.Random(11)
    world = large_world()
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        grown, lost = [], 0
        rows_before, places = 0, {}
        for number in range(KILLS):
            requests = dice.randint(1, 16 + read_to_the_end(world, places)) if AT_RANDOM else 4
            fault = Fault("*", dice.choice(["drop_before", "drop_after"]), skip=dice.randrange(requests), times=number % 2)
            server.faults.add(fault)  # in every other round a connection is lost before the kill
            if AT_RANDOM:
                await kill_at(await start_worker(settings), server, requests, dice.random() * 0.03)
            else:
                point = list(POINTS)[number]
                await (await start_worker(settings, point)).died_at(point)
            server.faults.clear()
            lost += number % 2 and fault.times == 0
            rows, places = state_on_disk(settings)
            assert all(watermark == highest for watermark, highest in places.values())
            grown.append(rows - rows_before)
            rows_before = rows
            if AT_RANDOM or not point.startswith("everything read"):
                assert rows < len(world.messages) - KILLS, "it left some for later"
            go_on_living(world, dice, number)
        assert sum(count > 0 for count in grown) >= KILLS // 3, grown  # the kills landed in work
        assert lost == KILLS // 2
        worker = await start_worker(settings)
        assert (await worker.hear(), await worker.wait()) == ("", 0)
        assert calls(server, "InitTakeoutSession")
        assert calls(server, "FinishTakeoutSession")
    store = open_store(settings.store_path)
    found = keys(await in_store(store))
    await store.dispose()
    expected = on_server(world, OWNER_ID, CONTACTS)
    assert len(found) == len(expected)
    assert set(found) == expected
