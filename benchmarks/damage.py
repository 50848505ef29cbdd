"""Does importing a damaged export take time in proportion to its size?

    .venv/bin/python benchmarks/damage.py [--kilobytes 512] [--rounds 3]

Files of nothing but broken messages, one way of breaking them each, of one size and of eight times that size. Both are imported into
new stores, each in a process of its own, and its CPU seconds are counted from the first byte to the report. `ratio` is the worst
quotient of the two: 8 is linear, 64 quadratic. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from trainer.importer import import_export
from twin.errors import InputError
from twin.store import open_store

BAR = 12.0
TIMES = 8
HEAD = '{"name": "Ada", "type": "personal_chat", "id": 2001, "messages": [\n'
MESSAGE = '{{"id": {0}, "type": "message", "date_unixtime": "1700000000", "from_id": "user2001", "text": "line {0}"}}'

SHAPES: dict[str, Callable[[str], str]] = {
    "a comma is missing in each": lambda message: message.replace(', "text"', ' "text"') + ",\n",
    "a string is not closed in each": lambda message: message[:-2] + "},\n",
    "no object is closed": lambda message: message[:-1] + ",\n",
    "each is inside the one before": lambda message: message[:-1] + ', "more": [',
    "escapes that are none": lambda message: message.replace("line", r"l\qine") + ",\n",
    "bare paths without a line's end": lambda message: message[:-1] + ', "document_id": stickers/a.webp},',
    "garbage between them": lambda message: message + ', %{]garb"age,\n',
    "zeroes between them": lambda message: message + "\0",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kilobytes", type=int, default=512, help="the smaller size")
    parser.add_argument("--rounds", type=int, default=3, help="runs a size; medians are compared")
    parser.add_argument("--import-file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.import_file:
        print(asyncio.run(seconds_of(args.import_file)))
        return
    found = {}
    for shape in SHAPES:
        small, large = (measured(shape, args.kilobytes * 1000 * times, args.rounds) for times in (1, TIMES))
        found[shape] = {"seconds": round(small, 3), f"seconds_{TIMES}_times_as_large": round(large, 3), "ratio": round(large / small, 2)}
        print(f"{shape}: {json.dumps(found[shape])}", flush=True)
    ratio = max(figures["ratio"] for figures in found.values())
    print(json.dumps({"name": "damage", "ratio": ratio, "bar": BAR, "holds": ratio <= BAR, "kilobytes": args.kilobytes, "shapes": found}))


def measured(shape: str, size: int, rounds: int) -> float:
    with tempfile.TemporaryDirectory(prefix="damage-") as temporary:
        file = Path(temporary) / "result.json"
        write(file, SHAPES[shape], size)
        command = [sys.executable, __file__, "--import-file", str(file)]
        runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(rounds)]
    return statistics.median(map(float, runs))


def write(file: Path, shape: Callable[[str], str], size: int) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        out.write(HEAD)
        number = 0
        while out.tell() < size:
            number += 1
            out.write(shape(MESSAGE.format(number)))
        out.write("]}")


async def seconds_of(file: Path) -> float:
    """CPU seconds of one import into a new store."""
    with tempfile.TemporaryDirectory(prefix="damage-store-") as temporary:
        store = open_store(Path(temporary) / "twin.sqlite")
        began = time.process_time()
        try:
            await import_export(store, file)
        except InputError:  # nothing in it could be read
            pass
        took = time.process_time() - began
        await store.dispose()
    return took


if __name__ == "__main__":
    main()
