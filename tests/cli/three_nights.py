"""Three real nights of the sample model in a world of its own: the first, one that goes on, one of shuffled words that must be refused.

    python tests/cli/three_nights.py FOLDER [--engine vllm] [--minutes 1.5] [--items 240]

With --engine vllm a real server answers three clients throughout. Prints every night's verdict, and one JSON line at the end.
Not part of the suite: it takes a quarter of an hour on two cores (tests/cli/test_nights*.py play the same with two layers).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from asking import Asked, asking  # noqa: E402
from cli_scene import answers_for, running_sandbox  # noqa: E402
from nights_scene import Said, save_chats, say, settle, shuffled  # noqa: E402

from inference.serve import start_server  # noqa: E402
from trainer.base_model import SAMPLE, prepare_base_model  # noqa: E402
from twin.settings import load_settings  # noqa: E402

CONTACTS, LATER = range(3, 9), 800
RECIPE = {"TWIN_TRAINING__LEARNING_RATE": "1e-3", "TWIN_TRAINING__BATCH_TOKENS": "2048"}


def night(data: Path, *more: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "twin", "nightly", "--json", "--data", str(data), *more]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    print(f"night: {found['kind']}, {found['new_messages']} new messages, {found['outcome']}: {found['line']}", flush=True)
    for check in found["gate"]["checks"]:
        print(f"  {'ok' if check['holds'] else 'NO':2} {check['why']}", flush=True)
    return found


async def play(sandbox: dict[str, Any], data: Path, later: Sequence[Said], *, engine: str, minutes: str, items: str) -> dict[str, Any]:
    nights: list[dict[str, Any]] = []
    asked: Asked | None = None
    async with AsyncExitStack() as stack:
        if engine == "vllm":
            os.environ["TWIN_ENGINE__API_KEY"] = "canary-key"
            base = await asyncio.to_thread(prepare_base_model, SAMPLE, Path(os.environ["TWIN_MODELS"]))
            server = await stack.enter_async_context(
                start_server(load_settings(data=data), base, log=data.parent / "vllm.log", ready_seconds=600)
            )
            os.environ |= {"TWIN_ENGINE__KIND": "vllm", "TWIN_ENGINE__URL": server.url}
            asked = await stack.enter_async_context(asking(load_settings(data=data), base))
        halves = [], later[: LATER // 2], shuffled(later[LATER // 2 :])
        tested = ("--items", items)
        for said, more in zip(halves, (("--minutes", minutes, *tested), tested, tested), strict=True):
            await asyncio.to_thread(say, sandbox, said)
            nights.append(await asyncio.to_thread(night, data, *more))
            live = nights[-1]["adapter"] if nights[-1]["promoted"] else nights[-1]["parent"]
            if asked:
                await asked.until_only(live)
    result: dict[str, Any] = {"engine": engine, "outcomes": [night["outcome"] for night in nights]}
    if asked:
        one, two = (night["adapter"] for night in nights[:2])
        result |= {"answers": len(asked.answers), "failed": 0, "by_base": asked.answers.count(None)}
        result |= {"by_first": asked.answers.count(one), "by_second": asked.answers.count(two), "strays": asked.strays(one, two)}
    return result


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--engine", choices=["local", "vllm"], default="local")
    parser.add_argument("--items", default="240", help="held-out replies that a night tests")
    parser.add_argument("--minutes", default="1.5", help="of the first night's training")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True)
    later = save_chats(folder / "world.json", contacts=CONTACTS, later=LATER)
    os.chdir(folder)
    with running_sandbox(folder, folder / "world.json") as sandbox:
        os.environ |= answers_for(sandbox) | RECIPE | {"TWIN_DATA": str(folder / "data")}
        settle(sandbox, folder / "data", folder)
        asked = {"engine": options.engine, "minutes": options.minutes, "items": options.items}
        print(json.dumps(asyncio.run(play(sandbox, folder / "data", later, **asked))))


if __name__ == "__main__":
    main()
