"""Does a night with 500 new messages cost the same whatever the length of the history?

    .venv/bin/python benchmarks/nightly_cost.py [--long 200000] [--short 10000] [--new 500]

Twice the same story, `twin nightly --json` in a process of its own against a sandbox, with the real sample model: a first night
learns a history of real human chats (package chitchat-dataset, dealt out to contacts of 1,000 messages each) for a fixed
time, then ten contacts and the owner write the same new messages, and the second night is timed: collect, dataset,
incremental training, evaluation, gate. The ratio is long over short, of the clock; `cpu_ratio` is that of the night's processor
time: look at it when the machine is busy with other things. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from sandbox.names import invented_account
from sandbox.samples import OWNER_ID, add_bot, dump_world
from sandbox.world import World
from trainer.session import sign_in
from twin.cli import children
from twin.cli.demo import sandbox as sandboxes
from twin.cli.demo.sandbox import Sandbox
from twin.cli.demo.setting import isolate, settings_for
from twin.cli.folder import transact, utc_now
from twin.settings import Settings
from twin.store import adapters, dialogs

BAR = 1.2
PER_CONTACT = 1_000
SPEAKING = 10  # contacts who write something new
FIRST_MINUTES = 0.5
CONVERSATION_EVERY = 2 * 86_400  # seconds between two conversations of a contact

Line = tuple[int, int, int, str]  # unix time, sender, receiver, text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", type=int, default=200_000, help="messages of the long history")
    parser.add_argument("--short", type=int, default=10_000, help="messages of the short history")
    parser.add_argument("--new", type=int, default=500, help="new messages of the night that is timed")
    parser.add_argument("--items", type=int, default=240, help="held-out replies that a night tests")
    args = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    nights = {}
    with tempfile.TemporaryDirectory(prefix="nightly-cost-") as temporary:
        for name, messages in (("short", args.short), ("long", args.long)):
            folder = Path(temporary) / name
            folder.mkdir()
            nights[name] = night_after(folder, messages, args.new, args.items)
            print(f"{name}: {json.dumps(nights[name])}")
    ratio = nights["long"]["seconds"] / nights["short"]["seconds"]
    cpu = nights["long"]["cpu_seconds"] / nights["short"]["cpu_seconds"]
    print(
        json.dumps(
            {"name": "nightly_cost", "ratio": round(ratio, 3), "bar": BAR, "holds": ratio <= BAR, "cpu_ratio": round(cpu, 3), **nights}
        )
    )


def night_after(folder: Path, messages: int, new: int, items: int) -> dict[str, Any]:
    """Figures of the second night over a history of so many messages."""
    history, later = dealt(messages // PER_CONTACT, new)
    save_world(folder / "world.json", history)
    isolate(folder)
    sandbox = sandboxes.start(1, world=str(folder / "world.json"), folder=folder, port=0)
    try:
        settings = settings_for(sandbox, folder, engine="local", minutes=FIRST_MINUTES, owner_name="Robin")
        sign_in_owner(settings, sandbox)
        twin(folder, "collect")
        transact(settings, consent)
        first = twin(folder, "nightly", "--items", "20")
        if not first["promoted"]:  # half a minute may not pass the gate, and it is not what is measured here
            transact(settings, lambda connection: adapters.promote(connection, first["adapter"], utc_now()))
        for _, sender, receiver, text in later:
            sandbox.send(sender, receiver, text)
        unhurried(folder)
        began_at, used = time.monotonic(), cpu_seconds()
        document = twin(folder, "nightly", "--items", str(items))
        seconds, used = time.monotonic() - began_at, cpu_seconds() - used
    finally:
        children.stop(sandbox.child)
    stages = {stage["name"]: stage["seconds"] for stage in document["stages"]}
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used, 1),
        "history": len(history),
        "new_messages": document["new_messages"],
        "kind": document["kind"],
        "outcome": document["outcome"],
        "mixture": document["mixture"],
        "stages": stages,
    }


def cpu_seconds() -> float:
    """Of all processes that have ended: the night's and its workers', not the sandbox's."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def twin(folder: Path, *arguments: str) -> dict[str, Any]:
    command = [*children.python("twin", *arguments), "--json"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    document = dict(json.loads(done.stdout or "{}"))
    if done.returncode != 0:
        sys.exit(f"`twin {arguments[0]}` failed: {document.get('error', done.returncode)}")
    return document


def dealt(contacts: int, new: int) -> tuple[list[Line], list[Line]]:
    """The history in order of time, PER_CONTACT messages for each contact, and what is said after it."""
    talks = conversations()
    lines: list[Line] = []
    for contact in range(contacts):
        said = 0
        for number, talk in enumerate(talks):
            start = number * CONVERSATION_EVERY + contact * 7
            for offset, out, text in talk[: PER_CONTACT - said]:
                lines.append(spoken(start + offset, contact, out, text))
            said += len(talk[: PER_CONTACT - said])
            if said >= PER_CONTACT:
                break
    later: list[Line] = []
    for place in range(SPEAKING):
        share, said = new // SPEAKING, 0
        for talk in talks:
            for _, out, text in talk[: share - said]:
                later.append(spoken(0, place, out, text))
            said += len(talk[: share - said])
            if said >= share:
                break
    return sorted(lines, key=lambda line: line[0]), later


def spoken(at: int, contact: int, out: bool, text: str) -> Line:
    other = OWNER_ID + 1 + contact
    return (at, OWNER_ID, other, text) if out else (at, other, OWNER_ID, text)


def conversations() -> Iterator[list[tuple[int, bool, str]]]:
    """Real conversations, each used once: (seconds since its first message, whether the owner wrote it, text).
    Who answered is the owner."""
    dataset = json.loads((resources.files("chitchat_dataset") / "dataset.json").read_text(encoding="utf-8"))
    for conversation in dataset.values():
        lines = [line for turn in conversation["messages"] for line in turn if line["text"].strip()]
        if len({line["sender"] for line in lines}) == 2:
            times = [int(datetime.fromisoformat(line["timestamp"]).timestamp()) for line in lines]
            yield [(max(times[: i + 1]) - times[0], line["sender"] != lines[0]["sender"], line["text"]) for i, line in enumerate(lines)]


def save_world(path: Path, history: Sequence[Line]) -> None:
    world = World()
    people = sorted({account for line in history for account in line[1:3]})
    for account in people:
        world.add_account(invented_account(account - OWNER_ID, account))
    add_bot(world)
    moved = int(world.clock()) - 3 * 86_400 - history[-1][0]
    for at, sender, receiver, text in history:
        world.send(sender, receiver, text, date=at + moved, silent=True)
    dump_world(world, path, owner_id=OWNER_ID)


def sign_in_owner(settings: Settings, sandbox: Sandbox) -> None:
    async def code(_: str) -> str:
        return await asyncio.to_thread(sandbox.login_code, sandbox.owner_phone)

    asyncio.run(sign_in(settings, ask_code=code, ask_password=code))


async def consent(connection: Any) -> None:
    for dialog in await dialogs.find(connection):
        await dialogs.record_consent(connection, dialog.dialog_id, "given", utc_now(), "yes")


def unhurried(folder: Path) -> None:
    """No time limit on what is timed: one pass over the mixture."""
    path = folder / ".env"
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("TWIN_TRAINING__MINUTES")]
    path.write_text("\n".join([*kept, "TWIN_TRAINING__EPOCHS=1"]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
