"""How an answer goes out: `bot` (the contact's chat with the bot), `business` (as the owner, through Telegram Business) or `session`
(as the owner, through the live session).

The sender knows a way only by this protocol. Each way maps its library's errors at its own border: whatever a send meets is a
`NotSent`, which says what is known about it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bot.telegram import Outcome
from twin.store import outbox
from twin.store.outbox import Bubble


@dataclass(frozen=True)
class Delivered:
    """`message_id` is the message's id in the box of the channel: the bot's chat, or the owner's account. None: it arrived, and its
    id is not known (yet)."""

    message_id: int | None
    sent_at: datetime


class CannotTell(Exception):
    """The chat cannot be read at the moment, or two messages could be the one."""


# Whether a bubble that nobody heard of is in its chat; None: certainly not. Raises CannotTell. Only messages of the owner's side with its
# text count, not older than `tried_at`, and none that the store knows already.
LookUp = Callable[[Bubble], Awaitable[Delivered | None]]


class NotSent(Exception):
    """`why` is a phrase for the owner without anything that somebody wrote; `seconds` is Telegram's own number, if it named one.

    `is_closed`: this way is shut for this dialog (connection withdrawn, no right to reply, nothing heard for 24 hours, signed out), so
    another way may be tried, and the same one need not.
    """

    def __init__(self, outcome: Outcome, why: str, *, seconds: float | None = None, is_closed: bool = False) -> None:
        super().__init__(why)
        self.outcome = outcome
        self.why = why
        self.seconds = seconds
        self.is_closed = is_closed


class Way(Protocol):
    name: outbox.Way

    async def send(self, bubble: Bubble) -> Delivered:
        """Raises NotSent."""
        ...

    async def delete(self, dialog_id: int, message_ids: list[int]) -> None:
        """For both sides. Raises NotSent (REFUSED: they stay). Deleting what is gone already is no error."""
        ...

    async def typing(self, dialog_id: int) -> None:
        """Show "typing..." for about five seconds. Never raises: it matters little."""
        ...

    async def read(self, dialog_id: int, message_id: int) -> None:
        """Mark everything up to this message as read. Never raises."""
        ...
