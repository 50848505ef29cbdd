"""The way `bot`: the contact's own chat with the bot."""

from __future__ import annotations

from datetime import UTC, datetime

from aiogram import Bot
from aiogram.exceptions import TelegramForbiddenError, TelegramRetryAfter

from bot.telegram import ERRORS, Outcome, SendText, explain, outcome, quietly
from bot.ways import Delivered, NotSent
from twin.store.outbox import Bubble, Way


class BotWay:
    name: Way = "bot"

    def __init__(self, bot: Bot) -> None:
        self.bot = bot

    async def send(self, bubble: Bubble) -> Delivered:
        try:
            sent = await self.bot(SendText(chat_id=bubble.dialog_id, text=bubble.text, message_thread_id=bubble.thread_id))
        except ERRORS as exc:
            raise not_sent(exc) from exc
        return Delivered(sent.message_id, datetime.fromtimestamp(sent.date, UTC))

    async def delete(self, dialog_id: int, message_ids: list[int]) -> None:
        try:
            await self.bot.delete_messages(dialog_id, message_ids)  # what is gone already is passed over
        except ERRORS as exc:
            raise not_sent(exc) from exc

    async def typing(self, dialog_id: int) -> None:
        await quietly(self.bot.send_chat_action(dialog_id, "typing"), "typing.refused", chat_id=dialog_id)

    async def read(self, dialog_id: int, message_id: int) -> None:
        """A bot has no read marks."""


def not_sent(error: Exception) -> NotSent:
    """What an error of aiogram's says about the request that met it."""
    how = outcome(error)
    seconds = float(error.retry_after) if isinstance(error, TelegramRetryAfter) else None
    return NotSent(how, why(error) if how is Outcome.REFUSED else str(explain(error)), seconds=seconds)


def why(error: Exception) -> str:
    """A refusal, for the owner."""
    text = str(getattr(error, "message", ""))
    if isinstance(error, TelegramForbiddenError):
        return "they have blocked the bot" if "blocked" in text else "Telegram does not let the bot write to them"
    if "chat not found" in text:
        return "Telegram knows no such chat"
    return f"Telegram refused it ({text.removeprefix('Bad Request: ')})"
