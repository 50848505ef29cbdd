"""The live session's life: open, catch up, listen; opened again whenever the connection is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from bot.context import Bells, LiveState, heard, utc_now
from bot.live import Account, Accounts
from bot.live.apply import News, Sends, StillSending, apply
from bot.live.asking import is_lost_place, refusal
from bot.live.difference import State, difference_request, news_of, read_gap, rings, state_of
from bot.live.people import People
from bot.telegram import LONGEST_PAUSE
from bot.worker import place
from twin import undecodable
from twin.account import CHANNEL
from twin.errors import FloodError, SessionError, TelegramError, UndecodableError
from twin.settings import Settings
from twin.store import dialogs, facts, messages, notices
from twin.store.engine import Store

log = structlog.get_logger()
STATE = "live state"  # the fact: pts, qts, date
FIRST_PAUSE = 0.5
STUMBLES = 3  # failures of our own in a row before the owner is told
LOOK_SECONDS = 60.0  # a push may get lost
APART_SECONDS = 0.3  # between two differences, under a stream of pushes
SIGNED_OUT_SECONDS = 60.0  # until the kept session is looked at again: the owner may have signed in


class Live:
    """The owner's account, as long as the bot runs. `call`, `people` and `sends` are for the way that answers through it."""

    def __init__(self, accounts: Accounts, store: Store, settings: Settings, bells: Bells) -> None:
        self._accounts, self._store, self._settings, self._bells = accounts, store, settings, bells
        self._account: Account | None = None
        self._closing: Account | None = None  # given up, not closed yet
        self._lost_by: TelegramError = TelegramError("The live session is not connected.")
        self._failures = 0
        self._bell = asyncio.Event()
        self._round = asyncio.Lock()  # one difference at a time
        self.people = People()
        self.sends = Sends()
        self.is_signed_out = False

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self._live()
            except SessionError as exc:
                self.is_signed_out = True
                await self._accounts.lost(exc)
                self._bells.ring()
                log.error("live.signed_out", error=type(exc).__name__)
                seconds = SIGNED_OUT_SECONDS
            except TelegramError as exc:
                seconds = float(exc.seconds) if isinstance(exc, FloodError) else self._pause()
                log.warning("live.lost", error=type(exc.__cause__ or exc).__name__, retry_seconds=seconds)
            except Exception as exc:  # noqa: BLE001 - any bug that a difference meets: the other ways must go on
                seconds = await self._stumbled(exc)
            finally:
                await self._close()
            await asyncio.sleep(seconds)

    # --- for the way ---

    @property
    def account(self) -> Account:
        """Raises TelegramError while there is no connection."""
        if self._account is None:
            raise TelegramError("The live session is not connected.", mend="It is tried again.")
        return self._account

    @property
    def is_connected(self) -> bool:
        return self._account is not None

    @property
    def state(self) -> LiveState:
        return "signed out" if self.is_signed_out else "connected" if self.is_connected else "being connected"

    async def call(self, request: Any) -> Any:
        """Ask for one thing, once. A connection that gives no answer is not asked again. Raises TelegramError."""
        account = self.account
        try:
            return await account.call(request)
        except (FloodError, UndecodableError):  # an answer came
            raise
        except TelegramError as exc:
            if isinstance(exc, SessionError) or refusal(exc) is None:
                self._give_up(account, exc)
            raise

    async def catch_up(self) -> None:
        """Apply all that has happened until now. Raises TelegramError."""
        async with self._round:
            _ = self.account  # a lost connection leaves the bell ringing, for the one who opens another
            self._bell.clear()
            if await self._difference():
                self._bells.ring()

    async def peer(self, dialog_id: int) -> Any:
        """Where to write to; None if there is no such chat with a person. Raises TelegramError."""
        return await self.people.peer(self.account, self.call, dialog_id)

    # --- one connection ---

    async def _live(self) -> None:
        """Until the connection is lost."""
        account = self._account = await self._accounts.open(self._pushed)
        await self.catch_up()
        self.is_signed_out, self._failures = False, 0
        log.info("live.connected")
        self._bells.ring()  # answers may have waited for the connection
        while True:
            await heard(self._bell, LOOK_SECONDS)
            if self._account is not account:
                raise self._lost_by
            await self.catch_up()
            await asyncio.sleep(APART_SECONDS)

    def _pause(self) -> float:
        self._failures += 1
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (self._failures - 1))

    async def _stumbled(self, error: Exception) -> float:
        """The difference is asked for again; the owner is told when that does not help. The error's words may quote a message."""
        seconds = self._pause()
        log.error("live.failed", error=type(error).__name__, place=place(error), retry_seconds=seconds)
        if self._failures == STUMBLES:
            async with self._store.begin() as connection:
                line = (
                    f"I cannot follow your own chats through the live session ({type(error).__name__}). The log says where; I keep trying."
                )
                await notices.add(connection, line, utc_now())
            self._bells.desk.set()
        return seconds

    def _pushed(self, update: Any) -> None:
        if update is None:
            self._give_up(self._account, TelegramError("Telegram closed the connection."))
        elif rings(update):
            self._bell.set()

    def _give_up(self, account: Account | None, error: TelegramError) -> None:
        """The connection is of no use any more: another one is opened."""
        if self._account is account:
            self._account, self._lost_by = None, error
            self._closing = account
            self._bell.set()

    # --- differences ---

    async def _difference(self) -> bool:
        """True if something was applied."""
        async with self._store.connect() as connection:
            kept = await facts.get(connection, STATE)
        if kept is None:  # nothing from before the first start is answered
            await self._begin_here()
            return False
        state, changed = State(**kept), False
        while True:
            try:
                answer = await self.call(difference_request(state))
            except UndecodableError:  # one message of one chat stands in the way of all the others
                return await self._jump(state)
            except TelegramError as exc:
                if not is_lost_place(exc):
                    raise
                return await self._jump(state)
            match type(answer).__name__:
                case "DifferenceEmpty":
                    return changed
                case "DifferenceTooLong":
                    return await self._jump(state)
                case "DifferenceSlice":
                    following, is_last = state_of(answer.intermediate_state), False
                case _:
                    following, is_last = state_of(answer.state), True
            self.people.learn(self.account, answer.users)
            await self._apply(news_of(self.account, answer), following)
            state, changed = following, True
            if is_last:
                return changed

    async def _begin_here(self) -> State:
        from telethon.tl.functions.updates import GetStateRequest

        state = state_of(await self.call(GetStateRequest()))
        async with self._store.begin() as connection:
            await facts.put(connection, STATE, state.to_fact())
        log.info("live.begun", pts=state.pts)
        return state

    async def _jump(self, since: State) -> bool:
        """Too much has happened, or too long ago, for Telegram to tell it one by one: read the chats that were active since."""
        from telethon.tl.functions.updates import GetStateRequest

        following = state_of(await self.call(GetStateRequest()))
        async with self._store.connect() as connection:
            known, left_out = await messages.last_ids(connection, CHANNEL), await dialogs.excluded(connection)
        news, users, unread = await read_gap(self.account, self.call, since, known, left_out)
        if unread:
            async with self._store.begin() as connection:
                for person, error in unread:
                    await dialogs.save(connection, person.id, name=self.account.full_name(person), username=person.username)
                    await undecodable.note(connection, person.id, error, utc_now())
        self.people.learn(self.account, users)
        log.warning("live.gap", pts=since.pts, to_pts=following.pts, messages=len(news.messages))
        await self._apply(news, following)
        return True

    async def _apply(self, news: News, following: State) -> None:
        """News and the state that they lead to, in one transaction."""
        wanted = {message.dialog_id for message in (*news.messages, *news.edits)}
        people = await self.people.find(self.account, self.call, wanted)
        while True:
            try:
                async with self._store.begin() as connection:
                    by_hand = await apply(connection, news, people, self.sends, self._settings, utc_now())
                    await facts.put(connection, STATE, following.to_fact())
                break
            except StillSending as exc:
                await exc.answered.wait()
        counts = {"messages": len(news.messages), "edits": len(news.edits), "deleted": len(news.deleted)}
        if any(counts.values()):
            log.info("live.applied", by_hand=by_hand, **counts)

    async def _close(self) -> None:
        closing, self._account, self._closing = self._account or self._closing, None, None
        if closing:
            await closing.close()
