"""The owner's account for the bot's live session: the composition root hands the trainer's border to Telethon over to the bot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from twin.errors import SessionError, TelegramError
from twin.settings import Settings
from twin.store import ownership
from twin.store.engine import Store
from twin.turns import Message

if TYPE_CHECKING:
    from telethon import TelegramClient

    from bot.live import Account, Accounts

NOTICE = "I can no longer read and answer your chats through your own account, and the nights learn nothing new: {why} {mend}"


class LiveAccount:
    """bot.live.Account."""

    def __init__(self, client: TelegramClient, settings: Settings, gone: asyncio.Future[Any]) -> None:
        self._client, self._settings, self._gone = client, settings, gone

    async def call(self, request: Any) -> Any:
        from trainer.telethon_calls import call

        return await call(self._asked(request), self._settings)

    async def _asked(self, request: Any) -> Any:
        """Telethon keeps a request that comes while a connection ends, and nobody would ever answer it."""
        asked = asyncio.ensure_future(self._client(request))
        try:
            await asyncio.wait({asked, self._gone}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise ConnectionError
            return asked.result()
        finally:
            asked.cancel()

    def to_message(self, raw: Any, dialog_id: int) -> Message | None:
        from trainer.telegram_messages import to_message

        return to_message(raw, dialog_id)

    def full_name(self, person: Any) -> str:
        from trainer.session import full_name

        return full_name(person)

    def is_person(self, entity: Any) -> bool:
        from trainer.collect import left_out

        return left_out(entity) is None

    async def close(self) -> None:
        from trainer.session import disconnect

        await disconnect(self._client, self._settings)


@dataclass(frozen=True)
class KeptAccounts:
    """bot.live.Accounts: the session that `twin init` keeps."""

    store: Store
    settings: Settings

    async def open(self, pushed: Callable[[Any], None]) -> Account:
        from trainer import lost_session
        from trainer.session import disconnect, open_client
        from trainer.telethon_calls import call

        await lost_session.refuse_if_lost(self.store, self.settings)
        client = await open_client(self.settings, sleeps=False, pushed=pushed)
        try:
            me = await call(client.get_me(input_peer=True), self.settings)
            if me.user_id != self.settings.owner.id:
                raise SessionError("The kept session is of another account than the owner's.", mend="Sign in as the owner: `twin init`.")
            async with self.store.begin() as connection:
                if await ownership.account(connection) not in (None, me.user_id):
                    raise SessionError("The store has the chats of another account than the owner's.", mend="Take another data folder.")
                await ownership.claim(connection, me.user_id)
        except TelegramError:
            await disconnect(client, self.settings)
            raise
        gone = client.disconnected
        gone.add_done_callback(lambda _: _ended(gone, pushed))
        return LiveAccount(client, self.settings, gone)

    async def lost(self, error: SessionError) -> None:
        from trainer import lost_session

        await lost_session.note(self.store, self.settings, error, datetime.now(UTC), notice=NOTICE.format(why=error.what, mend=error.mend))


def live_accounts(settings: Settings, store: Store) -> Accounts | None:
    """None where the live session is not wanted."""
    return KeptAccounts(store, settings) if settings.telegram.live else None


def _ended(gone: asyncio.Future[Any], pushed: Callable[[Any], None]) -> None:
    if not gone.cancelled():
        gone.exception()  # seen: the next call tells it
    pushed(None)
