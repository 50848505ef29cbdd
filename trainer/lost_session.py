"""A session that Telegram has ended stops the collecting, and the owner is told once.

What is kept is which session it was (a digest of its sealed file), so a new sign-in needs to clear nothing: it is another one.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from trainer.session import session_path
from trainer.telethon_calls import SIGN_IN_MEND, RevokedError
from twin.errors import SessionError
from twin.settings import Settings
from twin.store import facts, notices

LOST = "collect.lost_session"  # the fact: {"session": digest, "why": the error's sentence}
NOTICE = "I can no longer read your chats: Telegram has ended my session of your account, so the nights learn nothing new. {mend}"


async def refuse_if_lost(store: AsyncEngine, settings: Settings) -> None:
    """Raise RevokedError, without a call to Telegram, if the kept session is the one that was lost."""
    async with store.connect() as connection:
        lost = await facts.get(connection, LOST)
    if lost and lost["session"] == _digest(settings):
        raise RevokedError(lost["why"], mend=SIGN_IN_MEND)


async def note(store: AsyncEngine, settings: Settings, error: SessionError, at: datetime, *, notice: str = "") -> None:
    """Write down that the session is lost, and a notice for the owner the first time, whoever of its users finds it out."""
    session = _digest(settings)
    async with store.begin() as connection:
        lost = await facts.get(connection, LOST)
        if lost is None or lost["session"] != session:
            await facts.put(connection, LOST, {"session": session, "why": error.what})
            await notices.add(connection, notice or NOTICE.format(mend=SIGN_IN_MEND), at)


def _digest(settings: Settings) -> str:
    path = session_path(settings)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
