"""Does storing what Telegram gives cost next to nothing beside reading it?

    .venv/bin/python benchmarks/collect.py [--messages 50000] [--contacts 25] [--rounds 9]

A sandbox in a process of its own holds 50,000 messages of real words (package chitchat-dataset) in chats of unequal length.
One side is a first `collect`, whole, into a new store: dialogs, export, pages, rows, watermarks, commits on disk. The other is
the bare loop: the same client, `iter_messages` over the same chats without its pauses, keeping nothing. Each run is a process
of its own, the sides take turns after one run that nobody times (it warms the server). Timed is what a second collection a
night would cost too: from connecting to disconnecting, after imports and migrations. The ratio is of the rates, ours over the
bare one's, by the medians. `server_cpu_seconds` tells what the sandbox itself took. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

from sandbox.names import invented_account
from sandbox.samples import OWNER_ID, add_bot, dump_world
from sandbox.world import Media, World
from trainer.collect import collect, left_out
from trainer.session import connected, read_session, session_path, sign_in
from twin.cli import children
from twin.cli.demo import sandbox as sandboxes
from twin.cli.demo.sandbox import Sandbox
from twin.cli.demo.setting import isolate, settings_for
from twin.settings import Settings, load_settings
from twin.store import open_store

BAR = 0.9
SIDES = ("bare", "collect")
PLAIN = 0.9  # the share of messages that are text alone
KINDS = ("photo", "voice", "sticker", "video", "document")
SECONDS_APART = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--contacts", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=9, help="runs a side, taking turns; medians are compared")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(asyncio.run({"bare": bare, "collect": ours}[args.side](load_settings(args.folder / ".env"), args.folder))))
        return
    with tempfile.TemporaryDirectory(prefix="collect-") as temporary:
        print(json.dumps(compared(Path(temporary), args)))


def compared(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    script = Path(__file__).resolve()
    save_world(folder / "world.json", args.messages, args.contacts)
    isolate(folder)
    sandbox = sandboxes.start(1, world=str(folder / "world.json"), folder=folder, port=0)
    try:
        settings = settings_for(sandbox, folder, engine="local", minutes=1, owner_name="Robin")
        sign_in_owner(settings, sandbox)
        measured("bare", folder, script, sandbox)
        found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for _ in range(args.rounds):
            for side in SIDES:
                found[side].append(measured(side, folder, script, sandbox))
                print(f"{side}: {json.dumps(found[side][-1])}", flush=True)
    finally:
        children.stop(sandbox.child)
    for side, runs in found.items():
        if any(run["messages"] != args.messages for run in runs):
            sys.exit(f"the side {side!r} did not read all messages")
    seconds = {side: statistics.median(run["seconds"] for run in runs) for side, runs in found.items()}
    ratio = seconds["bare"] / seconds["collect"]
    return {
        "name": "collect",
        "ratio": round(ratio, 3),
        "bar": BAR,
        "holds": ratio >= BAR,
        "messages": args.messages,
        "messages_per_second": {side: round(args.messages / took) for side, took in seconds.items()},
        "seconds": {side: [run["seconds"] for run in runs] for side, runs in found.items()},
        "cpu_seconds": {side: statistics.median(run["cpu_seconds"] for run in runs) for side, runs in found.items()},
        "server_cpu_seconds": {side: statistics.median(run["server_cpu_seconds"] for run in runs) for side, runs in found.items()},
        "cores": os.cpu_count(),
    }


# --- the scene --------------------------------------------------------------------------------------------------------


def save_world(path: Path, messages: int, contacts: int) -> None:
    """Chats of unequal length, as real ones are: the n-th most spoken to gets a share of 1/n. Their ids interleave."""
    draw = random.Random(1)
    world = World()
    world.add_account(invented_account(0, OWNER_ID))
    people = [world.add_account(invented_account(place, OWNER_ID + place)).id for place in range(1, contacts + 1)]
    add_bot(world)
    texts = real_texts()
    start = int(world.clock()) - (messages + 10_000) * SECONDS_APART
    for number, other in enumerate(draw.choices(people, weights=[1 / place for place in range(1, contacts + 1)], k=messages)):
        sender, to = (OWNER_ID, other) if draw.random() < 0.5 else (other, OWNER_ID)
        media = None if draw.random() < PLAIN else Media(draw.choice(KINDS), b"x", emoji="\N{SLIGHTLY SMILING FACE}")
        world.send(sender, to, draw.choice(texts), date=start + number * SECONDS_APART, media=media, silent=True)
    dump_world(world, path, owner_id=OWNER_ID)


def real_texts() -> list[str]:
    found = json.loads((resources.files("chitchat_dataset") / "dataset.json").read_text(encoding="utf-8"))
    lines = [line["text"] for talk in found.values() for turn in talk["messages"] for line in turn]
    return [line for line in lines if line.strip()]


def sign_in_owner(settings: Settings, sandbox: Sandbox) -> None:
    async def code(_: str) -> str:
        return await asyncio.to_thread(sandbox.login_code, sandbox.owner_phone)

    asyncio.run(sign_in(settings, ask_code=code, ask_password=code))


# --- the two sides ----------------------------------------------------------------------------------------------------


async def bare(settings: Settings, _: Path) -> dict[str, Any]:
    warm(settings)
    count = 0
    clock = Clock()
    async with connected(settings) as client:
        async for dialog in client.iter_dialogs():
            if left_out(dialog.entity) is None:
                # Above 3,000 messages Telethon would wait a second before each page.
                async for _message in client.iter_messages(dialog.input_entity, wait_time=0):
                    count += 1
    return clock.read() | {"messages": count}


async def ours(settings: Settings, folder: Path) -> dict[str, Any]:
    warm(settings)
    fresh = folder / f"run-{os.getpid()}"
    fresh.mkdir()
    shutil.copy(session_path(settings), fresh)
    settings = settings.model_copy(update={"data": fresh})
    store = open_store(settings.store_path)
    try:
        clock = Clock()
        report = await collect(store, settings)
        found = clock.read()
    finally:
        await store.dispose()
    with sqlite3.connect(settings.store_path) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM messages").fetchone()
    connection.close()
    shutil.rmtree(fresh)
    assert report.new_messages == rows
    return found | {"messages": rows}


def warm(settings: Settings) -> None:
    """Have both sides import Telethon and the ciphers before the clock runs."""
    import telethon.tl.functions  # noqa: F401

    read_session(settings)


class Clock:
    """Wall-clock and CPU seconds since it was made."""

    def __init__(self) -> None:
        self.began_at, self.used = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, Any]:
        return {"seconds": round(time.perf_counter() - self.began_at, 3), "cpu_seconds": round(time.process_time() - self.used, 2)}


# --- a run ------------------------------------------------------------------------------------------------------------


def measured(side: str, folder: Path, script: Path, sandbox: Sandbox) -> dict[str, Any]:
    """One side's figures, from a process of its own, with what the server took meanwhile."""
    before = server_seconds(sandbox)
    command = [sys.executable, str(script), "--side", side, "--folder", str(folder)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path_of(script)}, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"the side {side!r} failed")
    return {**json.loads(done.stdout.splitlines()[-1]), "server_cpu_seconds": round(server_seconds(sandbox) - before, 2)}


def path_of(script: Path) -> str:
    return os.pathsep.join([str(script.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])


def server_seconds(sandbox: Sandbox) -> float:
    """CPU seconds of the sandbox's process so far; 0 where /proc is not there."""
    try:
        fields = Path(f"/proc/{sandbox.child.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
