"""The border between Telethon and the rest: no call hangs, and every error is one of ours.

FloodWaitError, longer than it may sleep    FloodError
signed out, deactivated, unknown key        RevokedError (a SessionError)
any other answer with an error              RefusedError (a TelegramError)
an answer that Telethon cannot read         UndecodableError (a TelegramError)
no connection, no answer in time            TelegramError
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable
from typing import TypeVar

from twin.errors import FloodError, SessionError, TelegramError, UndecodableError
from twin.settings import Settings

Result = TypeVar("Result")

SIGN_IN_MEND = "Sign in again with `twin init`."
DECODERS = ("read_result", "from_reader", "tgread_object")  # of telethon.tl and telethon.extensions.binaryreader
NEXT_RUN = "The next run goes on from here."


class RefusedError(TelegramError):
    """Telegram answered this one request with an error; the session goes on."""


class RevokedError(SessionError):
    """Telegram has ended the session that is kept here; only a new sign-in helps."""


class NeedsPassword(Exception):
    """The account has two-step verification: the code was right and a password is wanted."""


async def call(awaitable: Awaitable[Result], settings: Settings) -> Result:
    """Await something of Telethon's: it ends within `telegram.call_seconds`, and its errors are ours."""
    try:
        async with asyncio.timeout(settings.telegram.call_seconds):
            return await awaitable
    except asyncio.CancelledError as exc:
        # Telethon cancels what waits for an answer when it gives a connection up; nobody cancelled this task then.
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        raise TelegramError(f"{_server(settings)} closed the connection.", mend=NEXT_RUN) from exc
    except Exception as exc:
        if (ours := translated(exc, settings)) is None:
            raise
        raise ours from exc


def translated(exc: Exception, settings: Settings) -> Exception | None:
    """The error of ours that says what Telethon's says; None for one that is not Telethon's."""
    from telethon import errors

    match exc:
        case errors.FloodWaitError() | errors.FloodPremiumWaitError():
            return FloodError(exc.seconds)
        case errors.SessionPasswordNeededError():
            return NeedsPassword()
        case errors.UnauthorizedError() | errors.AuthKeyDuplicatedError() | errors.AuthKeyNotFound():
            return RevokedError(f"Telegram has ended the session ({_reason(exc)}).", mend=SIGN_IN_MEND)
        case errors.RPCError():
            return RefusedError(f"Telegram refused a request ({exc.code} {type(exc).__name__.removesuffix('Error')}).")
        case _ if _is_decoding(exc):
            what = f"Telegram sent something that {library()} cannot read ({type(exc).__name__})."
            return UndecodableError(what, library=library(), mend="Update the program.")
        case TimeoutError():
            seconds = settings.telegram.call_seconds
            return TelegramError(f"{_server(settings)} gave no answer within {seconds:g} seconds.", mend=NEXT_RUN)
        case OSError() | errors.SecurityError() | errors.InvalidChecksumError() | BufferError() | asyncio.IncompleteReadError():
            return TelegramError(f"{_server(settings)} cannot be reached.", mend=f"Check the connection. {NEXT_RUN}")
    return None


def library() -> str:
    import telethon

    return f"Telethon {telethon.__version__}"


def _is_decoding(exc: Exception) -> bool:
    """Whether it arose while an answer was made into objects. Telethon has no error of its own for that: a constructor that it does not
    know, a string that is no UTF-8, too few bytes, a date out of range and a wrong vector are five classes, three of them Python's."""
    return any(frame.f_code.co_name in DECODERS for frame, _ in traceback.walk_tb(exc.__traceback__))


def _reason(exc: Exception) -> str:
    """Telegram's own word, SESSION_REVOKED for example. Telethon keeps it only of errors it does not know by name: one that it
    does know is a class, whose `message` is that of the whole 401 family."""
    from telethon import errors

    known = {kind: word for word, kind in errors.rpc_errors_dict.items()}
    return known.get(type(exc)) or getattr(exc, "message", None) or "AUTH_KEY_UNKNOWN"


def _server(settings: Settings) -> str:
    return settings.telegram.server or "Telegram"
