"""What does building a dataset cost beside the tokenizer alone?

    .venv/bin/python benchmarks/dataset.py [--messages 1000000] [--rounds 1] [--base FOLDER]

A store of one million messages in 200 consented chats: lengths and words drawn from real chats (package chitchat-dataset),
both sides in bursts, some conversations a day, now and then an e-mail address or a phone number. One side is
`build_dataset`, whole: read, cut, mask, count, split, write, hash. The other is the same fast tokenizer, encoding the same
texts in batches on all cores by its fastest call. Each run is a process of its own, timed
once the libraries are imported; memory is what it and its children hold together at the worst moment.
The last line is one JSON object. Memory is read from /proc: without it, `peak_mb` is null.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

from twin.settings import load_settings
from twin.store import dialogs, open_store

BAR = 1.5
MEMORY_BAR_MB = 1500
DIALOGS = 200
START = 1_600_000_000  # unix seconds
SIDES = ("tokenizer", "build")
SECRETS = ("write to ada.b@example.org", "call me on +49 170 1234567", "my card is 4111 1111 1111 1111")
INSERT = (
    "INSERT INTO messages (channel, dialog_id, message_id, out, sent_at, text, kind, forwarded, via_bot, source)"
    " VALUES ('account', ?, ?, ?, ?, ?, ?, 0, 0, 'collected')"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1, help="runs a side, taking turns; medians are compared")
    parser.add_argument("--base", type=Path, help="a base model's folder (default: the sample model)")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps({"tokenizer": tokenize, "build": build}[args.side](args.folder, args.base)))
        return
    with tempfile.TemporaryDirectory(prefix="dataset-") as temporary:
        folder = Path(temporary)
        base = args.base or sample_model(folder)
        fill_store(folder / "twin.sqlite", args.messages)
        found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for number in range(args.rounds):
            for side in SIDES:
                found[side].append(measured(side, folder, base, number))
                print(f"{side}: {json.dumps(found[side][-1])}", flush=True)
    seconds = {side: statistics.median(run["seconds"] for run in runs) for side, runs in found.items()}
    peaks = [run["peak_mb"] for run in found["build"] if run["peak_mb"] is not None]
    ratio = seconds["build"] / seconds["tokenizer"]
    result = {
        "name": "dataset",
        "ratio": round(ratio, 3),
        "bar": BAR,
        "holds": ratio <= BAR and max(peaks, default=0) <= MEMORY_BAR_MB,
        "peak_mb": max(peaks, default=None),
        "memory_bar_mb": MEMORY_BAR_MB,
        "seconds": seconds,
        "cpu_seconds": {side: statistics.median(run["cpu_seconds"] for run in runs) for side, runs in found.items()},
        "messages": args.messages,
        "cores": os.cpu_count(),
    }
    print(json.dumps(result))


def sample_model(folder: Path) -> Path:
    from trainer.base_model import SAMPLE, prepare_base_model

    return prepare_base_model(SAMPLE, Path(os.environ.get("TWIN_MODELS") or folder / "models"))


# --- the store --------------------------------------------------------------------------------------------------------


def fill_store(path: Path, messages: int) -> None:
    """Dialogs by the store's own functions, messages past them: a million would take it a minute."""
    count = min(DIALOGS, max(1, messages // 100))
    asyncio.run(add_contacts(path, range(1, count + 1)))
    connection = sqlite3.connect(path)
    with connection:
        connection.executemany(INSERT, invented(count, messages))
    connection.close()


async def add_contacts(path: Path, dialog_ids: Iterable[int]) -> None:
    store = open_store(path)
    try:
        async with store.begin() as connection:
            for dialog_id in dialog_ids:
                await dialogs.save(connection, dialog_id, name=f"Contact {dialog_id}", username=None)
                await dialogs.record_consent(connection, dialog_id, "given", datetime.fromtimestamp(START, UTC), "ok")
    finally:
        await store.dispose()


def invented(contacts: int, messages: int) -> Iterator[tuple[Any, ...]]:
    draw = random.Random(1)
    texts = real_texts()
    lengths = [len(text.split()) for text in texts]
    words = [word for text in texts for word in text.split()]
    for dialog_id in range(1, contacts + 1):
        at = START + draw.randrange(10_000_000)
        out = False
        for message_id in range(1, messages // contacts + 1):
            if draw.random() < 0.55:  # a burst is 1.8 messages
                out = not out
            at += draw.randrange(86_400, 300_000) if draw.random() < 0.03 else draw.randrange(2, 300)
            text = " ".join(draw.choices(words, k=draw.choice(lengths)))
            if draw.random() < 0.01:
                text = f"{text} {draw.choice(SECRETS)}"
            kind = "photo" if draw.random() < 0.02 else "text"
            yield dialog_id, message_id, out, at * 1_000_000, text, kind


def real_texts() -> list[str]:
    found = json.loads((resources.files("chitchat_dataset") / "dataset.json").read_text(encoding="utf-8"))
    lines = [line["text"] for talk in found.values() for turn in talk["messages"] for line in turn]
    return [line for line in lines if line.strip()]


# --- the two sides ----------------------------------------------------------------------------------------------------


def tokenize(folder: Path, base: Path) -> dict[str, Any]:
    from trainer.dataset_reader import load_tokenizer

    load_tokenizer(base)  # imports what it needs
    with sqlite3.connect(folder / "twin.sqlite") as connection:
        texts = [row[0] for row in connection.execute("SELECT text FROM messages ORDER BY dialog_id, sent_at, message_id")]
    connection.close()
    began_at, used = time.perf_counter(), cpu_seconds()
    tokenizer = load_tokenizer(base).backend_tokenizer
    rest, tokens = iter(texts), 0
    while batch := list(islice(rest, 5_000)):
        tokens += sum(len(encoded.ids) for encoded in tokenizer.encode_batch_fast(batch, add_special_tokens=False))
    return {"seconds": time.perf_counter() - began_at, "cpu_seconds": cpu_seconds() - used, "tokens": tokens}


def build(folder: Path, base: Path) -> dict[str, Any]:
    from trainer.dataset import build_dataset
    from trainer.dataset_reader import load_tokenizer

    load_tokenizer(base)  # imports what it needs

    async def run() -> dict[str, Any]:
        settings = load_settings(None, data=folder, owner={"name": "Robin"})
        store = open_store(folder / "twin.sqlite")
        try:
            began_at, used = time.perf_counter(), cpu_seconds()
            report = await build_dataset(store, settings, base, folder / "datasets" / str(os.getpid()))
            seconds, cpu = time.perf_counter() - began_at, cpu_seconds() - used
        finally:
            await store.dispose()
        return {"seconds": seconds, "cpu_seconds": cpu, "hash": report.hash, "tokens": report.tokens, "examples": report.examples}

    return asyncio.run(run())


def cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


# --- a run ------------------------------------------------------------------------------------------------------------


def measured(side: str, folder: Path, base: Path, number: int) -> dict[str, Any]:
    """One side's figures, from a process of its own, with the most memory that it and its children held."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder), "--base", str(base)]
    log = folder / f"{side}-{number}.out"
    peak = 0
    with log.open("wb") as out, subprocess.Popen(command, stdout=out) as child:
        while child.poll() is None:
            peak = max(peak, sum(map(resident, family(child.pid))))
            time.sleep(0.05)
    if child.returncode:
        sys.exit(f"the side {side!r} failed")
    found = json.loads(log.read_text().splitlines()[-1])
    return {**found, "seconds": round(found["seconds"], 2), "cpu_seconds": round(found["cpu_seconds"], 2), "peak_mb": peak >> 20 or None}


def family(pid: int) -> Iterator[int]:
    """A process and what it started, and so on. A process that ends meanwhile counts no more."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in read(path).split():
            yield from family(int(child))


def resident(pid: int) -> int:
    """Bytes. Pages shared with another process of the family are counted in both."""
    pages = read(Path(f"/proc/{pid}/statm")).split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else 0


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


if __name__ == "__main__":
    main()
