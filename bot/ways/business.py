"""The way `business`: as the owner, in his own chats, through the bot's connection to his account.

The connection is looked up for each request, so that one that was withdrawn a moment ago is not used.
"""

from __future__ import annotations

from datetime import UTC, datetime

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest

from bot.telegram import ERRORS, Outcome, SendText, quietly
from bot.ways import Delivered, NotSent
from bot.ways.chat import not_sent
from twin.departures import MAY_NOT_REPLY, UNCONNECTED
from twin.store import connections
from twin.store.engine import Store
from twin.store.outbox import Bubble, Way

# What Telegram calls a way that is shut, and what the owner is told.
SHUT = {
    "BUSINESS_CONNECTION_INVALID": "my connection to your account has ended",
    "business connection not found": "my connection to your account has ended",
    "BUSINESS_CONNECTION_NOT_ALLOWED": "I may not act in this chat",
    "BUSINESS_PEER_USAGE_MISSING": "they have not written for 24 hours, and then Telegram lets no bot answer for you",
    "BUSINESS_PEER_INVALID": "Telegram lets no bot answer for you in this chat",
    "BOT_ACCESS_FORBIDDEN": MAY_NOT_REPLY,
}


class BusinessWay:
    name: Way = "business"

    def __init__(self, bot: Bot, store: Store) -> None:
        self.bot = bot
        self.store = store

    async def send(self, bubble: Bubble) -> Delivered:
        connection_id = await self._connection("can_reply", MAY_NOT_REPLY)
        try:
            sent = await self.bot(SendText(chat_id=bubble.dialog_id, text=bubble.text, business_connection_id=connection_id))
        except ERRORS as exc:
            raise _not_sent(exc) from exc
        return Delivered(sent.message_id, datetime.fromtimestamp(sent.date, UTC))

    async def delete(self, dialog_id: int, message_ids: list[int]) -> None:
        connection_id = await self._connection("can_delete_sent_messages", "my connection to your account does not allow me to delete")
        try:
            await self.bot.delete_business_messages(connection_id, message_ids)
        except TelegramBadRequest as exc:
            if "message to delete not found" not in exc.message:
                raise _not_sent(exc) from exc
        except ERRORS as exc:
            raise _not_sent(exc) from exc

    async def typing(self, dialog_id: int) -> None:
        if connection_id := await self._allowed("can_reply"):
            action = self.bot.send_chat_action(dialog_id, "typing", business_connection_id=connection_id)
            await quietly(action, "typing.refused", chat_id=dialog_id)

    async def read(self, dialog_id: int, message_id: int) -> None:
        if connection_id := await self._allowed("can_read_messages"):
            await quietly(self.bot.read_business_message(connection_id, dialog_id, message_id), "read.refused", chat_id=dialog_id)

    async def _connection(self, right: str, refusal: str) -> str:
        """The id of the current connection. Raises NotSent if there is none with this right."""
        async with self.store.connect() as connection:
            made = await connections.current(connection)
        if made is None or not made.may(right):
            raise NotSent(Outcome.REFUSED, refusal if made else UNCONNECTED, is_closed=True)
        return made.connection_id

    async def _allowed(self, right: str) -> str | None:
        try:
            return await self._connection(right, "")
        except NotSent:
            return None


def _not_sent(error: Exception) -> NotSent:
    text = str(getattr(error, "message", ""))
    shut = next((words for code, words in SHUT.items() if code in text), None)
    return NotSent(Outcome.REFUSED, shut, is_closed=True) if shut else not_sent(error)
