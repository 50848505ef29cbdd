"""kill -9 anywhere in a collection loses nothing and doubles nothing."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
import time
from pathlib import Path

import pytest
from telegram_scene import KEY, in_store, keys, on_server, serving, signed_in

from sandbox.faults import Fault
from sandbox.mtproto import MtprotoServer
from sandbox.samples import OWNER_ID
from sandbox.world import Account, World
from twin.settings import Settings
from twin.store import open_store

WORKER = Path(__file__).with_name("collect_worker.py")
KILLS = 20


def large_world(contacts: int, each: int) -> World:
    world = World()
    world.add_account(Account(OWNER_ID, "Olga", phone="+10000000001"))
    start = int(time.time()) - 60 * 86_400
    for contact in range(OWNER_ID + 1, OWNER_ID + 1 + contacts):
        world.add_account(Account(contact, f"Contact {contact}"))
    for i in range(each):
        for contact in range(OWNER_ID + 1, OWNER_ID + 1 + contacts):
            sender, to = (OWNER_ID, contact) if i % 2 else (contact, OWNER_ID)
            world.send(sender, to, f"line {i} of {contact}", date=start + i, silent=True)
    return world


async def start_worker(settings: Settings) -> asyncio.subprocess.Process:
    telegram = settings.telegram
    arguments = [str(settings.data), telegram.server, str(telegram.server_key), KEY]
    return await asyncio.create_subprocess_exec(sys.executable, str(WORKER), *arguments, stderr=asyncio.subprocess.PIPE)


async def kill_at(worker: asyncio.subprocess.Process, server: MtprotoServer, requests: int, jitter_seconds: float) -> None:
    """Kill the worker a moment after its n-th history request arrived."""
    before, deadline = history_requests(server), time.monotonic() + 60
    while history_requests(server) - before < requests:
        assert worker.returncode is None, (await worker.stderr.read()).decode()[-2000:]
        assert time.monotonic() < deadline, "the worker did not get there"
        await asyncio.sleep(0.001)
    await asyncio.sleep(jitter_seconds)
    worker.kill()
    await worker.wait()
    assert worker.returncode == -9


def history_requests(server: MtprotoServer) -> int:
    return sum(call.name == "GetHistory" for call in server.calls)


def state_on_disk(settings: Settings) -> tuple[int, dict[int, tuple[int, int]]]:
    """(rows, dialog id -> (watermark, highest row)) as any other program reads it, after a check of the file."""
    with sqlite3.connect(settings.store_path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = db.execute("SELECT count(*) FROM messages").fetchone()[0]
        query = "SELECT d.dialog_id, d.watermark, max(m.message_id) FROM dialogs d LEFT JOIN messages m USING (dialog_id) GROUP BY 1"
        found = {dialog_id: (watermark, highest or 0) for dialog_id, watermark, highest in db.execute(query)}
    db.close()
    return rows, found


@pytest.mark.slow
async def test_twenty_kills_lose_nothing_and_double_nothing(tmp_path):
    dice = random.Random(11)
    world = large_world(12, 1000)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        grown = []
        rows_before = 0
        for number in range(KILLS):
            if number % 2:  # and lost connections beside the kills, in every other round
                server.faults.add(Fault("GetHistory", dice.choice(["drop_before", "drop_after"]), skip=dice.randrange(4)))
            worker = await start_worker(settings)
            await kill_at(worker, server, dice.randint(2, 9), dice.random() * 0.03)
            server.faults.clear()
            rows, places = state_on_disk(settings)
            assert all(watermark == highest for watermark, highest in places.values())
            grown.append(rows - rows_before)
            rows_before = rows
        # The kills landed in work: rows came in between them, and each of them left some for later.
        assert sum(count > 0 for count in grown) >= KILLS // 3, grown
        assert rows_before < 12_000
        worker = await start_worker(settings)
        assert await worker.wait() == 0, (await worker.stderr.read()).decode()[-2000:]
    store = open_store(settings.store_path)
    found = keys(await in_store(store))
    await store.dispose()
    assert len(found) == 12_000
    assert set(found) == on_server(world, OWNER_ID, range(OWNER_ID + 1, OWNER_ID + 13))
