"""What the bot's tests start from: the sandbox's Bot API on a real socket, the real bot against it, an engine that is told
what to say, and two phones to type and tap on."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bot.app import run_bot
from bot.context import Twin, utc_now
from bot.live import Accounts
from bot.retraining import Retraining
from bot.ways import LookUp, Way
from sandbox.botapi import BotApi
from sandbox.faults import Fault, Faults
from sandbox.world import Account, BusinessConnection, Message, World
from twin.errors import EngineError, InputError
from twin.generator import ActiveAdapter, Generated, Sampling
from twin.nights import Night
from twin.settings import Settings
from twin.store import open_store, runs
from twin.store.engine import Store
from twin.store.tables import metadata
from twin.turns import Turn

OWNER, ADA, BEN, EVE = 100, 201, 202, 666
BOT = 42
TOKEN = f"{BOT}:SANDBOX-not-a-secret"
RIGHTS = {"can_reply": True, "can_read_messages": True, "can_delete_sent_messages": True}


@dataclass
class Engine:
    """Says what is queued, else "answer 1", "answer 2" ...; raises what is queued if that is an error."""

    queue: list[str | Exception] = field(default_factory=list)
    down: EngineError | None = None
    seconds: float = 0.0
    asked: list[tuple[Turn, ...]] = field(default_factory=list)
    said: int = 0

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling) -> Generated:
        self.asked.append(turns)
        await asyncio.sleep(self.seconds)
        if self.down:
            raise self.down
        self.said += 1
        words = self.queue.pop(0) if self.queue else f"answer {self.said}"
        if isinstance(words, Exception):
            raise words
        return Generated(words, len(words.split()), -1.0, "ada-1")

    async def use(self, adapter: ActiveAdapter | None) -> None: ...

    async def close(self) -> None: ...


UNREACHABLE = EngineError("The engine cannot be reached.", kind="unreachable", mend="Start it with `twin serve`.")


@dataclass
class Scene:
    world: World
    faults: Faults
    api: BotApi
    store: Store
    settings: Settings
    engine: Engine
    retrained: list[bool] = field(default_factory=list)
    is_training: bool = False  # whether somebody holds the training lock
    chain_fails: Exception | None = None  # before it has a row
    rolled_back: int = 0
    promoted: list[str] = field(default_factory=list)
    unprovable: Exception | None = None
    accounts: Accounts | None = None  # how the owner's account is opened, for a live session
    nights: list[Night] = field(default_factory=list)
    session: Way | None = None  # the live session's, for the tests of who takes which way
    look_up: LookUp | None = None
    retrain_may_end: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    # --- the bot's life ---

    async def start(self) -> None:
        ready = asyncio.Event()
        run = run_bot(
            self.settings,
            self.store,
            self.engine,
            retrain=self._retrain,
            rollback=self._rollback,
            promote=self._promote,
            is_training=lambda: self.is_training,
            session=self.session,
            look_up=self.look_up,
            on_ready=lambda _: ready.set(),
            accounts=self.accounts,
        )
        self._task = asyncio.create_task(run)
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({self._task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        waiting.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self) -> float:
        """Cancel the bot; the seconds it took to end."""
        began = time.monotonic()
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
            task, self._task = self._task, None
            if not task.cancelled() and (error := task.exception()):
                raise error
        return time.monotonic() - began

    async def _retrain(self, night: Night) -> str:
        """As the chain does it: a row while it runs, the lock held, a clean end when it is cancelled."""
        self.nights.append(night)
        if self.chain_fails:
            raise self.chain_fails
        run_id, line = f"run-{len(self.nights)}", "The new adapter is better by 0.31 nats and is active now."
        self.is_training = True
        try:
            async with self.store.begin() as connection:
                await runs.begin(connection, run_id, "nightly", utc_now(), trigger=night.trigger, night_at=night.at)
            await self.retrain_may_end.wait()
            self.retrained.append(night.full)
            async with self.store.begin() as connection:
                await runs.end(connection, run_id, "done", utc_now(), detail={"line": line})
        except asyncio.CancelledError:
            async with self.store.begin() as connection:
                await runs.end(connection, run_id, "cancelled", utc_now())
            raise
        finally:
            self.is_training = False
        return line

    async def _rollback(self) -> str:
        self.rolled_back += 1
        if self.rolled_back > 1:
            raise InputError("No adapter is active.", mend="`twin adapters` lists them.")
        return "Back to ada-0."

    async def _promote(self, name: str) -> str:
        if self.unprovable:
            raise self.unprovable
        self.promoted.append(name)
        return f"{name} is live, as you said."

    def twin(self) -> Twin:
        """The parts, for a test that runs one task by itself."""
        retraining = Retraining(self._retrain, self.store, self.settings, is_training=lambda: self.is_training, ring=lambda: None)
        return Twin(self.settings, self.store, self.engine, retraining, self._rollback, self._promote, OWNER)

    # --- phones ---

    def writes(self, text: str, *, sender: int = ADA, **more: Any) -> Message:
        return self.world.send(sender, BOT, text, **more)

    def connects(self, connection_id: str = "bc1", *, account: int = OWNER, enabled: bool = True, **rights: bool) -> BusinessConnection:
        """An account connects the bot, changes its rights, or ends the connection."""
        made = BusinessConnection(connection_id, account, BOT, int(self.world.clock()), enabled, rights or dict(RIGHTS))
        self.world.set_connection(made)
        return made

    def whispers(self, text: str, *, sender: int = ADA, **more: Any) -> Message:
        """A contact writes to the owner, not to the bot."""
        return self.world.send(sender, OWNER, text, **more)

    def types(self, text: str, *, to: int = ADA, **more: Any) -> Message:
        """The owner writes to a contact himself."""
        return self.world.send(OWNER, to, text, **more)

    def chat(self, contact: int = ADA) -> list[str]:
        """The owner's side of a chat with a contact, as the contact sees it."""
        return [m.text for m in self.world.history(OWNER, contact) if m.sender_id == OWNER]

    async def states(self) -> list[str]:
        return [row["state"] for row in await self.rows("outbox")]

    async def connected(self) -> None:
        """Connect the bot to the owner's account, and wait until he is told."""
        self.connects()
        await self.hear("I am connected to your account")

    async def told(self, word: str) -> bool:
        return any(word in row["text"] for row in await self.rows("notices"))

    def says(self, text: str, *, reply_to: Message | None = None) -> Message:
        """The owner writes to the bot."""
        return self.world.send(OWNER, BOT, text, reply_to=reply_to.uid if reply_to else None)

    def tap(self, card: Message, label: str, *, by: int = OWNER) -> None:
        self.world.press(by, card, data_of(card, label))

    def seen_by(self, account: int) -> list[str]:
        """What the bot has sent to this account, in order."""
        return [m.text for m in self.from_bot(account)]

    def from_bot(self, account: int) -> list[Message]:
        return [m for m in self.world.history(account, BOT) if m.sender_id == BOT]

    def cards(self, word: str = "") -> list[Message]:
        return [m for m in self.from_bot(OWNER) if "Draft " in m.text.split("\n")[-1] and word in m.text]

    async def card(self, word: str = "", *, number: int = 1) -> Message:
        """The n-th card that holds this word, once it can be decided on."""
        cards = await until(lambda: self.cards(word)[number - 1 :])
        return cards[0]

    async def hear(self, word: str, *, account: int = OWNER) -> Message:
        """A message of the bot that holds this word."""
        return (await until(lambda: [m for m in self.from_bot(account) if word in m.text]))[-1]

    # --- the store ---

    async def rows(self, table: str) -> list[dict[str, Any]]:
        async with self.store.connect() as connection:
            return [dict(row._mapping) for row in await connection.execute(select(metadata.tables[table]))]

    async def is_idle(self) -> bool:
        """Whether nothing is left to be done: inbox, due, outbox, cards, notices."""
        if len(self.api.door.inbox(BOT)):
            return False
        # In the order in which work moves on, so that none slips through between two looks.
        waiting = [r for r in await self.rows("inbox") if r["done_at"] is None]
        waiting += await self.rows("replies_due")
        waiting += [r for r in await self.rows("outbox") if r["state"] in ("waiting", "sending", "unheard", "retracting")]
        waiting += [r for r in await self.rows("drafts") if r["shown_revision"] < r["revision"] and r["dialog_id"] != OWNER]
        waiting += [r for r in await self.rows("drafts") if r["another_due_at"]]
        waiting += [r for r in await self.rows("notices") if r["told_at"] is None]
        return not waiting

    async def idle(self) -> None:
        await until(self.is_idle, 60)

    def fail(self, method: str, action: Any, arg: Any = None, **more: int) -> None:
        self.faults.add(Fault(method, action, arg, **more))


@asynccontextmanager
async def opened(path: Path, *, started: bool = True, **bot_settings: Any) -> AsyncIterator[Scene]:
    world = World()
    for account in (
        Account(OWNER, "Olga", "Owner", username="olga"),
        Account(ADA, "Ada", "Lovelace", username="ada"),
        Account(BEN, "Ben", username="ben"),
        Account(EVE, "Eve"),
        Account(BOT, "Twin", username="twin_bot", is_bot=True, token=TOKEN),
    ):
        world.add_account(account)
    world.send(OWNER, BOT, "/start", silent=True)
    faults = Faults()
    api = await BotApi(world, faults).start()
    settings = make_settings(path, api.base_url, **bot_settings)
    store = open_store(settings.store_path)
    scene = Scene(world, faults, api, store, settings, Engine())
    try:
        if started:
            await scene.start()
        yield scene
    finally:
        await scene.stop()
        await store.dispose()
        await scene.api.stop()


def make_settings(path: Path, api_url: str, **bot: Any) -> Settings:
    """`auto` and `tempo` are those groups; everything else is of the group `bot`. Nothing depends on the hour at which the tests run."""
    values = {"token": TOKEN, "api_url": api_url, "burst_seconds": 0.05, "bubble_seconds": 0.02, **bot}
    auto, tempo = {"quiet_hours": None, **values.pop("auto", {})}, {"kind": "instant", **values.pop("tempo", {})}
    owner = {"id": OWNER, "name": "Olga"}
    return Settings(_env_file=None, data=path, owner=owner, bot=values, auto=auto, tempo=tempo)  # type: ignore[call-arg, arg-type]


async def until(claim: Callable[[], Any] | Callable[[], Awaitable[Any]], seconds: float = 30.0) -> Any:
    """Wait until `claim` holds; its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = claim()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


def labels(message: Message) -> list[str]:
    rows = (message.reply_markup or {}).get("inline_keyboard", [])
    return [button["text"] for row in rows for button in row]


def data_of(message: Message, label: str) -> str:
    rows = (message.reply_markup or {}).get("inline_keyboard", [])
    return next(button["callback_data"] for row in rows for button in row if button["text"] == label)
