"""What a simpler bot would do, by name: each of these loses or doubles something, and `test_naive` shows where."""

import secrets
from typing import Any


def apply(variant: str) -> None:
    """To the bot of this process."""
    VARIANTS[variant]()


def _resend() -> None:
    """Tries again whenever it has no answer, and knows no other way to tell whether a message went."""
    from twin import sending
    from twin.store import outbox

    async def doubt(connection: Any, bubble: Any, settings: Any, now: Any, **_: Any) -> None:
        await outbox.move(connection, bubble, "waiting", not_before_at=now)

    sending.doubt = doubt  # type: ignore[assignment]
    _blind()


def _blind() -> None:
    """Sees its own messages in the chat, and draws nothing from it."""
    from twin import sending

    async def turned_up(*_: Any, **__: Any) -> None: ...

    sending.turned_up = turned_up


def _forgetful() -> None:
    """Acknowledges an update first, as aiogram's own loop does, and keeps it when there is time."""
    from bot import poller

    keep = poller._keep
    later: list[list[Any]] = []  # acknowledged, and not kept yet

    async def keep_later(twin: Any, updates: list[Any]) -> None:
        later.append(updates)
        if len(later) > 3:
            await keep(twin, later.pop(0))

    poller._keep = keep_later


def _fresh_ids() -> None:
    """A new random_id for each try, and no look at what has happened meanwhile."""
    from telethon.tl.functions.messages import SendMessageRequest

    from bot.telegram import Outcome
    from bot.ways import NotSent
    from bot.ways.session import SessionWay
    from twin.errors import TelegramError

    async def send(self: Any, bubble: Any) -> Any:
        again = bubble._replace(random_id=secrets.randbits(63))
        try:
            peer = await self._live.peer(bubble.dialog_id)
        except TelegramError as exc:
            raise NotSent(Outcome.UNKNOWN, "no peer", seconds=0.1) from exc
        return await self._request(again, SendMessageRequest(peer, bubble.text, random_id=again.random_id))

    SessionWay.send = send  # type: ignore[method-assign]
    _blind()


VARIANTS = {"resend": _resend, "forgetful": _forgetful, "fresh_ids": _fresh_ids}
