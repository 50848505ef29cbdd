"""The sender: takes bubbles out of the outbox, in order within each chat and many chats at once, and settles every outcome in the store.

waiting ─(committed, with its way)─▶ sending ─request─▶ sent | waiting (certainly not gone) | failed (refused) | unheard, uncertain

One transaction a round: it settles what has been answered since the last one and marks what goes next. A request is made only
after that commit, and what it meant is written down by the next, so a kill at any line leaves a state that says what is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.context import LAST_SECONDS, Twin, to_its_end, utc_now
from bot.telegram import TYPING_SECONDS, Outcome, Pause
from bot.ways import CannotTell, Delivered, LookUp, NotSent
from bot.ways import Way as Ways
from twin import departures, sending
from twin.departures import Outlook, open_ways
from twin.store import connections, drafts, outbox
from twin.store.outbox import Bubble, Way

log = structlog.get_logger()
SENDS_AT_ONCE = 16
Settle = Callable[[AsyncConnection], Awaitable[None]]  # what came of a request, to be written down


async def send(twin: Twin, ways: Mapping[Way, Ways], look_up: LookUp | None = None) -> None:
    """For ever. `look_up` reads the chat of a business send that nobody heard of."""
    async with twin.store.begin() as connection:
        interrupted = await sending.recover(connection, twin.settings, utc_now())
        unsure = await outbox.tried_by_session(connection)
    if interrupted:
        log.warning("sends.interrupted", count=interrupted)
        twin.bells.ring()
    sender = Sender(twin, ways, look_up, unsure)
    try:
        while True:
            twin.bells.outbox.clear()
            await sender.wait(await to_its_end(sender.round()))
    finally:
        await sender.end()


class Sender:
    def __init__(self, twin: Twin, ways: Mapping[Way, Ways], look_up: LookUp | None, unsure: set[int]) -> None:
        self.twin = twin
        self.ways = ways
        self.look_up = look_up
        self.running: dict[asyncio.Task[Settle], Bubble] = {}
        self.aside: set[asyncio.Task[None]] = set()  # typing and read marks: nobody waits for them
        self.unsure = unsure  # bubbles that the session has perhaps sent: no other way may try them
        self.shut: dict[int, dict[Way, str]] = {}  # bubble id -> ways that are shut for it, and why
        self.pauses: dict[Way, Pause] = {name: Pause() for name in ways}
        self.resting: dict[Way, datetime] = {}  # without a network: until when
        self.shown: dict[int, datetime] = {}  # bubble id -> when "typing..." was shown last

    async def round(self) -> float | None:
        """Settle what was answered, begin what may go. Returns after how many seconds to look again, if nothing happens before."""
        now = utc_now()
        self.resting = {way: until for way, until in self.resting.items() if until > now}
        done = [task for task in self.running if task.done()]
        room = max(0, SENDS_AT_ONCE - sum(b.state == "sending" and not task.done() for task, b in self.running.items()))
        settings = self.twin.settings
        if not done:
            async with self.twin.store.connect() as connection:
                outlook = await departures.outlook(connection, settings, now)
            if not self._calls_for_more(outlook, room):
                return await self._until_next(outlook, now)
        async with self.twin.store.begin() as connection:
            for task in done:
                await task.result()(connection)
            now = utc_now()
            leaving = await departures.begin_ready(connection, self.ways, settings, now, room=room, closed=self.shut, resting=self.resting)
            if self.look_up is None:
                for bubble in leaving.outlook.lost:
                    await sending.ask(connection, bubble, now)
        for task in done:
            self.running.pop(task)
        self._start(leaving.begun, leaving.outlook)
        self.twin.bells.due.set()
        self.twin.bells.desk.set()
        return 0.0 if leaving.settled else await self._until_next(leaving.outlook, now)

    async def wait(self, seconds: float | None) -> None:
        """Until the bell rings, something is answered, or so many seconds have passed."""
        bell = asyncio.ensure_future(self.twin.bells.outbox.wait())
        try:
            await asyncio.wait({bell, *self.running}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            bell.cancel()

    async def end(self) -> None:
        """The bot is being stopped: what is in flight may end, for a while, and what came of it is written down."""
        for call in self.aside:
            call.cancel()
        if self.running:
            await asyncio.wait(self.running, timeout=LAST_SECONDS)
        answered = [task for task in self.running if task.done() and not task.cancelled() and task.exception() is None]
        unanswered = [task for task in self.running if not task.done()]
        for task in unanswered:
            task.cancel()
        if unanswered:
            await asyncio.wait(unanswered)
        if answered:
            async with self.twin.store.begin() as connection:
                for task in answered:
                    await task.result()(connection)

    def _calls_for_more(self, outlook: Outlook, room: int) -> bool:
        busy = {bubble.id for bubble in self.running.values()}
        return (outlook.ready and room > 0) or any(b.id not in busy for b in (*outlook.lost, *outlook.retracting))

    def _start(self, begun: list[Bubble], outlook: Outlook) -> None:
        busy = {bubble.id for bubble in self.running.values()}
        for bubble in begun:
            self._run(bubble, self._send(bubble))
            self.shown.pop(bubble.id, None)
            if bubble.position == 0 and bubble.channel == "account" and self.twin.settings.tempo.read_marks:
                self._beside(self._read(bubble))
        for bubble in outlook.lost:
            if bubble.id not in busy and self.look_up:
                self._run(bubble, self._look(bubble, self.look_up))
        for bubble in outlook.retracting:
            if bubble.id not in busy:
                self._run(bubble, self._delete(bubble))

    def _run(self, bubble: Bubble, request: Coroutine[Any, Any, Settle]) -> None:
        self.running[asyncio.create_task(request)] = bubble

    def _beside(self, call: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(call)
        self.aside.add(task)
        task.add_done_callback(self.aside.discard)

    # --- requests: each says what is to be written down ---

    async def _send(self, bubble: Bubble) -> Settle:
        assert bubble.way
        try:
            delivered = await self.ways[bubble.way].send(bubble)
        except NotSent as exc:
            return partial(self._not_sent, bubble, bubble.way, exc)
        return partial(self._arrived, bubble, delivered)

    async def _look(self, bubble: Bubble, look_up: LookUp) -> Settle:
        try:
            delivered = await look_up(bubble)
        except CannotTell:
            return partial(_ask, bubble)
        return partial(self._arrived, bubble, delivered) if delivered else partial(_missing, bubble)

    async def _delete(self, bubble: Bubble) -> Settle:
        assert bubble.sent_message_id is not None
        last: NotSent | None = None
        names: list[Way] = [bubble.way or "bot"]
        if bubble.channel == "account" and bubble.way != "session":
            names.append("session")
        for name in names:
            if name not in self.ways:
                continue
            try:
                await self.ways[name].delete(bubble.dialog_id, [bubble.sent_message_id])
            except NotSent as exc:
                last = exc
                if exc.is_closed:
                    continue
            else:
                return partial(_taken_back, bubble)
            break
        return partial(self._not_deleted, bubble, last)

    # --- what came of them ---

    async def _arrived(self, bubble: Bubble, delivered: Delivered, connection: AsyncConnection) -> None:
        if bubble.way in self.pauses:
            self.pauses[bubble.way].reset()
            self.resting.pop(bubble.way, None)
        self.shut.pop(bubble.id, None)
        await sending.arrived(
            connection, bubble, message_id=delivered.message_id, sent_at=delivered.sent_at, settings=self.twin.settings, now=utc_now()
        )
        log.info("bubble.sent", way=bubble.way, message_id=delivered.message_id, **_ids(bubble))

    async def _not_sent(self, bubble: Bubble, way: Way, error: NotSent, connection: AsyncConnection) -> None:
        settings, now = self.twin.settings, utc_now()
        log.warning("bubble.not_sent", way=way, outcome=error.outcome.value, why=error.why, is_closed=error.is_closed, **_ids(bubble))
        if error.is_closed and error.outcome is not Outcome.UNKNOWN:
            self.shut.setdefault(bubble.id, {})[way] = error.why
            await sending.wait(connection, bubble, now, now, keeps_way=bubble.id in self.unsure)
            return
        self.shut.pop(bubble.id, None)
        match error.outcome:
            case Outcome.NOT_DONE:
                await sending.wait(connection, bubble, self._later(way, error, now), now, keeps_way=bubble.id in self.unsure)
            case Outcome.UNKNOWN:
                self.unsure |= {bubble.id} if way == "session" else set()
                await sending.doubt(connection, bubble, settings, now, seconds=error.seconds or 1.0)
            case Outcome.REFUSED:
                await sending.fail(connection, bubble, error.why, settings, now)

    async def _not_deleted(self, bubble: Bubble, error: NotSent | None, connection: AsyncConnection) -> None:
        now = utc_now()
        if error is None or error.outcome is Outcome.REFUSED or error.is_closed:
            await sending.not_taken_back(connection, bubble, error.why if error else departures.UNCONNECTED, now)
        else:  # deleting twice is no harm
            await sending.retract_later(connection, bubble, self._later(bubble.way or "bot", error, now))
        log.warning("bubble.not_retracted", why=error.why if error else "", **_ids(bubble))

    def _later(self, way: Way, error: NotSent, now: datetime) -> datetime:
        """A flood limit is this chat's own; without a network nothing else would go this way either."""
        if error.seconds is not None:
            return now + timedelta(seconds=error.seconds)
        if way not in self.resting:
            self.resting[way] = now + timedelta(seconds=self.pauses[way].next(error))
        return self.resting[way]

    # --- typing and reading ---

    async def _until_next(self, outlook: Outlook, now: datetime) -> float | None:
        times = [outlook.next_at, *self.resting.values(), *(await self._type(outlook.typing, now))]
        at = min((at for at in times if at), default=None)
        return None if at is None else max(0.0, (at - utc_now()).total_seconds())

    async def _type(self, typing: list[Bubble], now: datetime) -> list[datetime]:
        """Show "typing..." where it is due; returns when it is due again."""
        every = timedelta(seconds=TYPING_SECONDS)
        # Not by what is typing now: a round without room does not look at that.
        self.shown = {bubble_id: at for bubble_id, at in self.shown.items() if at > now - every}
        waiting = [b for b in typing if self.shown.get(b.id, now - every) <= now - every]
        if waiting:
            async with self.twin.store.connect() as connection:
                made = await connections.current(connection)
            for bubble in waiting:
                self.shown[bubble.id] = now
                for name in open_ways(bubble.channel, made, self.ways)[:1]:
                    self._beside(self.ways[name].typing(bubble.dialog_id))
        return [at + every for at in self.shown.values()]

    async def _read(self, bubble: Bubble) -> None:
        assert bubble.way
        async with self.twin.store.connect() as connection:
            draft = await drafts.get(connection, bubble.draft_id)
        if draft and draft.answers_message_id:
            await self.ways[bubble.way].read(bubble.dialog_id, draft.answers_message_id)


async def _ask(bubble: Bubble, connection: AsyncConnection) -> None:
    await sending.ask(connection, bubble, utc_now())


async def _missing(bubble: Bubble, connection: AsyncConnection) -> None:
    log.warning("bubble.missing", **_ids(bubble))
    await sending.missing(connection, bubble, utc_now())


async def _taken_back(bubble: Bubble, connection: AsyncConnection) -> None:
    await sending.taken_back(connection, bubble, utc_now())
    log.info("bubble.retracted", **_ids(bubble))


def _ids(bubble: Bubble) -> dict[str, int]:
    return {"outbox_id": bubble.id, "draft_id": bubble.draft_id, "dialog_id": bubble.dialog_id}
