"""Does the whole path of an answer keep at least half the speed of a bot that merely echoes, and what does it add to an answer?

    .venv/bin/python benchmarks/bot.py [--updates 2000] [--chats 200] [--rounds 9] [--seconds 10] [--rate 20]

One side is the product: poll, message, due, draft, approved by itself, outbox, sendMessage, every commit on disk, as set for vLLM
with an engine that says at once what the contact said last. The other is a bare aiogram bot with one handler that sends the text
back, polled by aiogram's own loop with its defaults. Each run is a process of its own with a new store; the sandbox's Bot API is
this process; the sides take turns after one run each that nobody times. Each runs on the event loop that it has by default: the
product on uvloop's, aiogram on asyncio's.

Throughput: 200 chats write at once, and each writes again as soon as it has its answer, so that 200 updates always wait. Each message
has the same words in an order of its own: what has to be found out about new words is not known already. Counted are the answers from
the first after the warm-up to the last. The ratio is of updates a second, ours over the echo's, by the medians.

Added time: the chats write at random (exponential gaps, a random chat that has its answer), 20 messages a second in all. From the
moment the sandbox has an update's getUpdates answer ready to the moment it has read the sendMessage that answers it. The engine takes
no time, so nothing is subtracted; the hop there and back over the socket, the sandbox's reading of the request and aiogram's own work
are in it (`echo` tells how much those are).

The sandbox's share is told too: `cores_busy` is CPU seconds a second of the bot and of the sandbox. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from sandbox.botapi import BotApi
from sandbox.world import Account, Event, Sent, World
from twin.cli import children, loop

BAR = 0.5
MEDIAN_MS, P99_MS = 15.0, 50.0
SIDES = ("echo", "twin")
BOT, OWNER, FIRST = 42, 100, 1000  # ids: the bot, its owner, the first contact
TOKEN = f"{BOT}:SANDBOX-not-a-secret"
WORDS = ["that", "film", "was", "so", "funny,", "i", "laughed", "the", "whole", "way", "home"]  # in no order held back by caution
GIVE_UP_SECONDS = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=2000, help="answers counted in a run")
    parser.add_argument("--chats", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=9, help="runs a side, taking turns; medians are compared")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long a run's chats write at random")
    parser.add_argument("--rate", type=float, default=20.0, help="messages a second then, of all chats together")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--api", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        with contextlib.suppress(KeyboardInterrupt):
            if args.side == "echo":
                asyncio.run(echo(args.api))
            else:
                loop.run(twin(args.api, args.folder))
        return
    print(json.dumps(asyncio.run(compared(args))))


async def compared(args: argparse.Namespace) -> dict[str, Any]:
    for side in SIDES:
        await measured(side, args, updates=args.chats, seconds=0.0)
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for _ in range(args.rounds):
        for side in SIDES:
            found[side].append(run := await measured(side, args, updates=args.updates, seconds=args.seconds))
            print(f"{side}: {json.dumps({name: value for name, value in run.items() if name != 'waits'})}", flush=True)
    speed = {side: statistics.median(run["updates_per_second"] for run in runs) for side, runs in found.items()}
    ratio = speed["twin"] / speed["echo"]
    waits = {side: milliseconds([wait for run in runs for wait in run["waits"]]) for side, runs in found.items()}
    added = waits["twin"]
    fast = added is not None and added["median"] < MEDIAN_MS and added["p99"] < P99_MS
    return {
        "name": "bot",
        "ratio": round(ratio, 3),
        "bar": BAR,
        "holds": ratio >= BAR and fast,
        "updates_per_second": {side: round(value) for side, value in speed.items()},
        "cpu_ms_per_update": medians(found, "cpu_ms_per_update"),
        "sandbox_cpu_ms_per_update": medians(found, "sandbox_cpu_ms_per_update"),
        "cores_busy": medians(found, "cores_busy"),
        "sandbox_cores_busy": medians(found, "sandbox_cores_busy"),
        "added_ms": added,
        "added_bars_ms": {"median": MEDIAN_MS, "p99": P99_MS},
        "echo_ms": waits["echo"],
        "updates": args.updates,
        "chats": args.chats,
        "rate": args.rate,
        "runs": {side: [run["updates_per_second"] for run in runs] for side, runs in found.items()},
        "cores": os.cpu_count(),
    }


def medians(found: dict[str, list[dict[str, Any]]], name: str) -> dict[str, float]:
    return {side: round(statistics.median(run[name] for run in runs), 2) for side, runs in found.items()}


def milliseconds(waits: list[float]) -> dict[str, float] | None:
    """None if there were too few to name a hundredth of them."""
    if len(waits) < 2:
        return None
    cuts = statistics.quantiles(waits, n=100, method="inclusive")
    return {"median": round(cuts[49] * 1000, 2), "p99": round(cuts[98] * 1000, 2), "max": round(max(waits) * 1000, 2), "count": len(waits)}


# --- a run ------------------------------------------------------------------------------------------------------------


async def measured(side: str, args: argparse.Namespace, *, updates: int, seconds: float) -> dict[str, Any]:
    """One side's figures, from a new sandbox, a new process and a new store."""
    with tempfile.TemporaryDirectory(prefix="bot-") as folder:
        async with town(args.chats) as sandbox, running(side, sandbox, Path(folder)) as bot:
            fast = await burst(sandbox, bot, updates)
            return fast | {"waits": await stroll(sandbox, seconds, args.rate)}


@contextlib.asynccontextmanager
async def running(side: str, sandbox: Town, folder: Path) -> AsyncIterator[Process]:
    """The bot's process, once it polls."""
    script = Path(__file__).resolve()
    # -P: beside this file lies one named like the package `bot`, itself.
    command = [sys.executable, "-P", str(script), "--side", side, "--folder", str(folder), "--api", sandbox.api.base_url]
    here = {name: value for name, value in os.environ.items() if not name.startswith("TWIN_")}
    environment = {**here, "PYTHONPATH": os.pathsep.join([str(script.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])}
    bot = await asyncio.create_subprocess_exec(*command, env=environment, stdin=PIPE, preexec_fn=children.dies_with_us())
    try:
        await within(sandbox.polled, bot)
        yield bot
    finally:
        if bot.returncode is None:
            bot.terminate()
            await bot.wait()


async def within(event: asyncio.Event, bot: Process) -> None:
    """Wait for it as long as the bot lives."""
    happened, ended = asyncio.create_task(event.wait()), asyncio.create_task(bot.wait())
    await asyncio.wait({happened, ended}, timeout=GIVE_UP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for task in (happened, ended):
        task.cancel()
    if not event.is_set():
        sys.exit("the bot has ended or stands still")


async def burst(sandbox: Town, bot: Process, updates: int) -> dict[str, Any]:
    """Every chat writes, and again whenever it has its answer, until so many are counted after the warm-up."""
    sandbox.begin_burst(warm_up=len(sandbox.contacts), updates=updates)
    await within(sandbox.warm, bot)
    began_at, used, own = time.perf_counter(), cpu_seconds(bot.pid), time.process_time()
    await within(sandbox.counted, bot)
    took, used, own = time.perf_counter() - began_at, cpu_seconds(bot.pid) - used, time.process_time() - own
    await within(sandbox.quiet, bot)
    return {
        "updates_per_second": round(updates / took, 1),
        "cpu_ms_per_update": round(used / updates * 1000, 3),
        "sandbox_cpu_ms_per_update": round(own / updates * 1000, 3),
        "cores_busy": round(used / took, 2),
        "sandbox_cores_busy": round(own / took, 2),
    }


async def stroll(sandbox: Town, seconds: float, rate: float) -> list[float]:
    """Chats write at random moments for a while; how long each answer took."""
    draw = random.Random(1)
    sandbox.waits.clear()
    ends_at = due_at = time.perf_counter()
    ends_at += seconds
    while (due_at := due_at + draw.expovariate(rate)) < ends_at:
        await asyncio.sleep(max(0.0, due_at - time.perf_counter()))
        free = [contact for contact in sandbox.contacts if contact not in sandbox.unanswered]
        if free:
            sandbox.write(draw.choice(free))
    deadline = time.perf_counter() + GIVE_UP_SECONDS
    while sandbox.unanswered:
        if time.perf_counter() > deadline:
            sys.exit("some messages were never answered")
        await asyncio.sleep(0.05)
    return list(sandbox.waits)


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process so far; 0 where /proc is not there."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- the sandbox ------------------------------------------------------------------------------------------------------


class Town:
    """The sandbox's Bot API, contacts who write to the bot, and a note of when each update left and each answer came."""

    def __init__(self, chats: int) -> None:
        self.world = World()
        self.contacts = range(FIRST, FIRST + chats)
        self.world.add_account(Account(BOT, "Twin", username="twin_bot", is_bot=True, token=TOKEN))
        self.world.add_account(Account(OWNER, "Olga", "Owner", username="olga"))
        self.world.send(OWNER, BOT, "/start", silent=True)
        for contact in self.contacts:
            self.world.add_account(Account(contact, f"Contact {contact}"))
        self.api = BotApi(self.world)
        self.polled, self.warm, self.counted, self.quiet = (asyncio.Event() for _ in range(4))
        self.unanswered: dict[int, float | None] = {}  # contact -> when the update was handed out
        self.waits: list[float] = []
        self._until_warm = self._until_counted = 0
        self._is_burst = False
        self._draw = random.Random(2)
        self._unsubscribe = self.world.subscribe(self._on_event)

    def begin_burst(self, *, warm_up: int, updates: int) -> None:
        self._until_warm, self._until_counted, self._is_burst = warm_up, updates, True
        for contact in self.contacts:
            self.write(contact)

    def write(self, contact: int) -> None:
        assert contact not in self.unanswered
        self.unanswered[contact] = None
        self.world.send(contact, BOT, " ".join(self._draw.sample(WORDS, len(WORDS))))

    @web.middleware
    async def watch(self, request: web.Request, handler: Any) -> web.StreamResponse:
        polls = request.path.endswith("/getUpdates")
        if polls:
            self.polled.set()
        response: web.Response = await handler(request)
        if polls and response.status == 200:
            now = time.perf_counter()
            for update in json.loads(response.text or "{}")["result"]:
                contact = update.get("message", {}).get("chat", {}).get("id")
                if contact in self.unanswered and self.unanswered[contact] is None:
                    self.unanswered[contact] = now
        return response

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Sent) and event.message.sender_id == BOT and (contact := event.message.other(BOT)) != OWNER:
            self._answered(contact)

    def _answered(self, contact: int) -> None:
        handed_at = self.unanswered.pop(contact, None)
        if handed_at is None:
            sys.exit("a message was answered that was not handed out, or twice")
        self.waits.append(time.perf_counter() - handed_at)
        if self._until_warm:
            self._until_warm -= 1
            if not self._until_warm:
                self.warm.set()
        elif self._until_counted:
            self._until_counted -= 1
            if not self._until_counted:
                self.counted.set()
                self._is_burst = False
        if self._is_burst:
            # Not from within the call that answers: its own update would come before its answer.
            asyncio.get_running_loop().call_soon(self.write, contact)
        elif not self.unanswered:
            self.quiet.set()


@contextlib.asynccontextmanager
async def town(chats: int) -> AsyncIterator[Town]:
    sandbox = Town(chats)
    app = web.Application(middlewares=[sandbox.watch])
    app.add_routes(sandbox.api.routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    sandbox.api.base_url = f"http://{host}:{port}"
    try:
        yield sandbox
    finally:
        sandbox.api.close()
        await runner.cleanup()


# --- the two sides ----------------------------------------------------------------------------------------------------


async def echo(api_url: str) -> None:
    from aiogram import Bot, Dispatcher
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer
    from aiogram.types import Message

    dispatcher = Dispatcher()

    @dispatcher.message()
    async def answer(message: Message) -> None:
        await message.answer(message.text or "")

    await dispatcher.start_polling(Bot(TOKEN, session=AiohttpSession(api=TelegramAPIServer.from_base(api_url))))


async def twin(api_url: str, folder: Path) -> None:
    from bot.app import run_bot
    from twin.cli.logs import log_to
    from twin.generator import ActiveAdapter, Generated, Sampling
    from twin.settings import Settings
    from twin.store import open_store
    from twin.turns import Turn

    class InstantEngine:
        async def generate(self, turns: tuple[Turn, ...], sampling: Sampling) -> Generated:
            words = turns[-1].content
            return Generated(words, len(words.split()), -0.1, None)

        async def use(self, adapter: ActiveAdapter | None) -> None: ...

        async def close(self) -> None: ...

    async def nothing(*_: object) -> str:
        return ""

    many = 1_000_000
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        data=folder,
        owner={"id": OWNER, "name": "Olga"},  # type: ignore[arg-type]
        bot={  # type: ignore[arg-type]
            "token": TOKEN,
            "api_url": api_url,
            "default_mode": "auto",
            "burst_seconds": 0,
            "drafts_per_hour": many,
            "drafts_per_hour_in_all": many,
        },
        auto={"in_a_row": many, "per_hour": many, "per_day": many, "quiet_hours": None, "min_logprob": -10.0},  # type: ignore[arg-type]
        tempo={"kind": "instant"},  # type: ignore[arg-type]
        engine={"kind": "vllm"},  # type: ignore[arg-type]  # it stands for one that takes many prompts at a time
    )
    log_to(folder)
    store = open_store(settings.store_path)
    try:
        await run_bot(
            settings,
            store,
            InstantEngine(),
            retrain=nothing,
            rollback=nothing,
            promote=nothing,
            is_training=lambda: False,
            on_ready=lambda _: loop.settle(),  # as `twin run` does
        )
    finally:
        await store.dispose()


if __name__ == "__main__":
    main()
