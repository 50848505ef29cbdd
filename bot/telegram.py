"""The border to aiogram: making the Bot, asking for raw updates, and what its errors mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any, cast

import structlog
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import (
    ClientDecodeError,
    RestartingTelegram,
    TelegramAPIError,
    TelegramConflictError,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramNetworkError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
)
from aiogram.methods import Response, TelegramMethod
from aiogram.types import Message
from aiohttp import ClientConnectorError, FormData, JsonPayload
from pydantic import BaseModel

from twin.errors import SettingsError, TelegramError
from twin.settings import Settings

log = structlog.get_logger()
TYPING_SECONDS = 4.0  # Telegram shows a chat action for 5 s
LONGEST_PAUSE = 60.0
# ClientDecodeError is no TelegramAPIError: an answer that is not Telegram's, such as a proxy's error page.
ERRORS = (TelegramAPIError, ClientDecodeError)


class GetRawUpdates(TelegramMethod[list[dict[str, Any]]]):
    """getUpdates, its updates left as JSON: they are stored as they came, and one that this version of aiogram cannot read
    does not stop the others."""

    __returning__ = list[dict[str, Any]]
    __api_method__ = "getUpdates"

    offset: int | None = None
    timeout: int | None = None
    allowed_updates: list[str] | None = None


class SentMessage(BaseModel):
    """Of the message that Telegram sends back, what is needed: to read all of it takes as long as to write it."""

    message_id: int
    date: int


class SendText(TelegramMethod[SentMessage]):
    """sendMessage with a text and nothing else, https://core.telegram.org/bots/api#sendmessage."""

    __returning__ = SentMessage
    __api_method__ = "sendMessage"

    chat_id: int
    text: str
    business_connection_id: str | None = None
    message_thread_id: int | None = None


def make_bot(settings: Settings) -> Bot:
    if settings.bot.token is None:
        raise SettingsError("The bot's token is not set.", mend="Get one from @BotFather and set TWIN_BOT__TOKEN.")
    server = TelegramAPIServer.from_base(settings.bot.api_url)
    return Bot(settings.bot.token.get_secret_value(), session=Session(api=server))


class Session(AiohttpSession):
    def __init__(self, api: TelegramAPIServer) -> None:
        super().__init__(api=api)
        # pydantic keeps Response[...] only as long as somebody holds it, and else builds it anew for an answer: 4 ms of CPU each.
        self.answers = Response[list[dict[str, Any]]], Response[SentMessage], Response[Message], Response[bool], Response[Message | bool]

    def build_form_data(self, bot: Bot, method: TelegramMethod[Any]) -> FormData:
        """Plain words go as JSON, which takes a quarter of the time of a form: https://core.telegram.org/bots/api#making-requests."""
        if not isinstance(method, SendText):
            return super().build_form_data(bot, method)
        return cast(FormData, JsonPayload(method.model_dump(exclude_none=True)))  # aiohttp sends either


class Outcome(Enum):
    """What an error says about the request that met it."""

    NOT_DONE = "not done"  # certainly not carried out; it may be tried again
    REFUSED = "refused"  # certainly not carried out, and never will be
    UNKNOWN = "unknown"  # perhaps carried out: the connection broke after the request had left


def outcome(error: Exception) -> Outcome:
    match error:
        case TelegramRetryAfter() | TelegramUnauthorizedError() | TelegramNotFound() | TelegramConflictError():
            return Outcome.NOT_DONE
        case TelegramEntityTooLarge():
            return Outcome.REFUSED
        case TelegramNetworkError() if isinstance(error.__cause__, ClientConnectorError):
            return Outcome.NOT_DONE  # no connection, so no request
        case TelegramNetworkError() | TelegramServerError() | ClientDecodeError():
            return Outcome.UNKNOWN
        case _:
            return Outcome.REFUSED


def is_passing(error: Exception) -> bool:
    """Whether the same call may well succeed later: the network, a flood limit, a server in trouble, a token being renewed."""
    return outcome(error) is not Outcome.REFUSED


def explain(error: Exception) -> TelegramError:
    """The error in words for a person, without anything that somebody wrote."""
    match error:
        case TelegramUnauthorizedError() | TelegramNotFound():
            return TelegramError("Telegram refuses the bot's token.", mend="Check TWIN_BOT__TOKEN, or get a new one from @BotFather.")
        case TelegramConflictError() if "webhook" in str(error):
            return TelegramError("A webhook is set for this bot, so it cannot poll.", mend="It is being removed.")
        case TelegramConflictError():
            return TelegramError("Another program polls with this bot's token.", mend="Stop the other one, or give it a bot of its own.")
        case TelegramRetryAfter():
            return TelegramError(f"Telegram asks to wait {error.retry_after} seconds.")
        case TelegramForbiddenError():
            return TelegramError("Telegram does not let the bot write there.", mend="Open the bot in Telegram and press Start.")
        case TelegramServerError() | RestartingTelegram() | ClientDecodeError():
            return TelegramError("Telegram has trouble of its own.", mend="It is tried again.")
        case TelegramNetworkError():
            return TelegramError("Telegram cannot be reached.", mend="Check the network and TWIN_BOT__API_URL; it is tried again.")
        case _:
            return TelegramError("Telegram refused a request.")


class Pause:
    """Growing waits between tries: 1, 2, 4 ... 60 s, or what Telegram asks for."""

    def __init__(self) -> None:
        self.failures = 0

    def next(self, error: Exception) -> float:
        self.failures += 1
        grown = min(LONGEST_PAUSE, 2.0 ** (self.failures - 1))
        return float(error.retry_after) if isinstance(error, TelegramRetryAfter) else grown

    def reset(self) -> bool:
        """True if it had to wait before."""
        had, self.failures = self.failures > 0, 0
        return had


async def quietly(call: Awaitable[Any], event: str, **ids: int) -> bool:
    """Make a call that matters little (a toast, a typing mark); an error is logged and False returned."""
    try:
        await call
    except ERRORS as exc:
        log.info(event, error=type(exc).__name__, **ids)
        return False
    return True


@asynccontextmanager
async def typing(bot: Bot, chat_id: int) -> AsyncIterator[None]:
    """Show "typing..." in a chat as long as the block runs."""
    task = asyncio.create_task(_keep_typing(bot, chat_id))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _keep_typing(bot: Bot, chat_id: int) -> None:
    while True:
        await quietly(bot.send_chat_action(chat_id, "typing"), "typing.refused", chat_id=chat_id)
        await asyncio.sleep(TYPING_SECONDS)
