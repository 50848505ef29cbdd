"""The owner's own account, held open: what happens in his private chats, as it happens, and a way to answer there.

    Telegram ─push─▶ bell ─▶ updates.getDifference ─▶ messages, edits, deletions + the new state, in one transaction

A push is never the news: it only rings. What happened is asked for from a state that is kept in the store, so kill -9 loses
nothing and repeats nothing. The parts: `live` (the connection and its life), `difference` (what to ask), `apply` (what it means
for the store), `people` (who is who), `asking` (what an error says).

The account is made by the composition root, because the bot may not import the trainer's border to Telethon.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twin.errors import SessionError
from twin.turns import Message

Pushed = Callable[[Any], None]  # is given an object of TL type Updates, or None when the connection is gone


class Account(Protocol):
    """The owner's account, signed in and connected. A connection that is lost is not mended: another account is opened."""

    async def call(self, request: Any) -> Any:
        """Ask for one thing, once. Ends within `telegram.call_seconds`, and when the connection is lost.

        Raises SessionError if Telegram has ended the session, FloodError, or TelegramError: with Telethon's RPCError as its cause if
        Telegram answered so, else the outcome is unknown.
        """
        ...

    def to_message(self, raw: Any, dialog_id: int) -> Message | None:
        """Telethon's message of a private chat as a row of the store; None for an empty place."""
        ...

    def full_name(self, person: Any) -> str: ...

    def is_person(self, entity: Any) -> bool:
        """Whether a chat with this Telethon User is a private chat with a person: no bot, not oneself, not Telegram."""
        ...

    async def close(self) -> None: ...


class Accounts(Protocol):
    """How to open the owner's account."""

    async def open(self, pushed: Pushed) -> Account:
        """Raises SessionError without a call to Telegram if the kept session is known to be lost; FloodError; TelegramError."""
        ...

    async def lost(self, error: SessionError) -> None:
        """Write down that the session is lost; the owner is told the first time."""
        ...
