"""What an error of the live session says about the request that met it."""

from __future__ import annotations

from typing import Any

from bot.telegram import Outcome
from bot.ways import NotSent
from twin.errors import FloodError, SessionError, TelegramError


def refusal(error: TelegramError) -> Any:
    """Telethon's RPCError if Telegram answered with one; None if it did not answer."""
    from telethon.errors import RPCError

    return error.__cause__ if isinstance(error.__cause__, RPCError) else None


def is_duplicate(error: TelegramError) -> bool:
    """A random_id that was used before: the message is there."""
    from telethon.errors import RandomIdDuplicateError

    return isinstance(error.__cause__, RandomIdDuplicateError)


def is_lost_place(error: TelegramError) -> bool:
    """Telegram cannot tell what happened since a state like ours."""
    from telethon.errors import PersistentTimestampEmptyError, PersistentTimestampInvalidError

    return isinstance(error.__cause__, PersistentTimestampEmptyError | PersistentTimestampInvalidError)


def not_sent(error: TelegramError) -> NotSent:
    """A request that changes something, as the sender has to see it."""
    answer = refusal(error)
    if isinstance(error, SessionError):
        return NotSent(Outcome.NOT_DONE, "your session has ended", is_closed=True)
    if isinstance(error, FloodError):
        return NotSent(Outcome.NOT_DONE, "Telegram asks to wait", seconds=max(1.0, error.seconds))
    if answer is None:
        return NotSent(Outcome.UNKNOWN, "the connection broke")
    if not 400 <= answer.code < 500:  # a server in trouble may have done it all the same
        return NotSent(Outcome.UNKNOWN, "Telegram has trouble of its own")
    return NotSent(Outcome.REFUSED, WHY.get(_name(answer), f"Telegram refused it ({_name(answer)})"))


def not_begun(error: TelegramError, *, is_closed: bool) -> NotSent:
    """What stands in the way of a send before all that happened until now is known: this try certainly did not go, but an earlier
    one of the same bubble may have."""
    if is_closed or isinstance(error, SessionError):
        return NotSent(Outcome.NOT_DONE, "your session has ended", is_closed=True)
    seconds = max(1.0, error.seconds) if isinstance(error, FloodError) else None
    return NotSent(Outcome.UNKNOWN, "Telegram cannot be reached through your session", seconds=seconds)


WHY = {
    "UserIsBlocked": "they have blocked you",
    "YouBlockedUser": "you have blocked them",
    "InputUserDeactivated": "their account is deleted",
    "PeerFlood": "Telegram lets your account write to contacts only, for now",
    "PeerIdInvalid": "Telegram knows no such chat",
}


def _name(answer: Any) -> str:
    return type(answer).__name__.removesuffix("Error")
