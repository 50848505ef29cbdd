"""Who is in the tests' world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from telethon import TelegramClient

OWNER, ANNA, BEN, BOT = 1000, 2000, 2001, 3000
NewClient = Callable[..., Awaitable[TelegramClient]]
