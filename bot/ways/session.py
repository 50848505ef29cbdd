"""As the owner, through the live session. A send may be repeated: Telegram takes each `random_id` of a bubble once.

Before a bubble goes, all that has happened until then is applied, so an own message that the owner typed meanwhile stops it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from bot.context import utc_now
from bot.live.asking import is_duplicate, not_begun, not_sent
from bot.live.difference import map_private
from bot.live.live import Live
from bot.telegram import Outcome
from bot.ways import CannotTell, Delivered, NotSent
from twin.account import CHANNEL, could_be
from twin.errors import TelegramError
from twin.store import drafts, messages, outbox
from twin.store.engine import Store
from twin.store.outbox import Bubble, Way
from twin.turns import Message

HISTORY_PAGE = 100
HISTORY_PAGES = 10
DELETED_AT_ONCE = 100


class SessionWay:
    name: Way = "session"

    def __init__(self, live: Live, store: Store) -> None:
        self._live, self._store = live, store

    async def send(self, bubble: Bubble) -> Delivered:
        """Raises NotSent. What a difference has settled meanwhile is not sent again."""
        from telethon.tl.functions.messages import SendMessageRequest

        try:
            await self._live.catch_up()
            peer = await self._live.peer(bubble.dialog_id)
        except TelegramError as exc:
            raise not_begun(exc, is_closed=self._live.is_signed_out) from exc
        if peer is None:
            raise NotSent(Outcome.REFUSED, "Telegram knows no such chat")
        if (there := await self._settled(bubble)) is not None:
            return there
        self._live.sends.begin(bubble.id, bubble.dialog_id)
        try:
            return await self._request(bubble, SendMessageRequest(peer, bubble.text, random_id=bubble.random_id))
        finally:
            self._live.sends.end(bubble.id)

    async def look_up(self, bubble: Bubble) -> Delivered | None:
        """What the owner's chat shows of a bubble of unknown outcome; None: it is certainly not there. A LookUp."""
        candidates = await self._candidates(bubble)
        if len(candidates) > 1:
            raise CannotTell
        return candidates[0] if candidates else None

    async def delete(self, dialog_id: int, message_ids: list[int]) -> None:
        from telethon.tl.functions.messages import DeleteMessagesRequest

        for start in range(0, len(message_ids), DELETED_AT_ONCE):
            try:
                await self._live.call(DeleteMessagesRequest(message_ids[start : start + DELETED_AT_ONCE], revoke=True))
            except TelegramError as exc:
                raise not_sent(exc) from exc

    async def typing(self, dialog_id: int) -> None:
        from telethon.tl.functions.messages import SetTypingRequest
        from telethon.tl.types import SendMessageTypingAction

        await self._quietly(dialog_id, lambda peer: SetTypingRequest(peer, SendMessageTypingAction()))

    async def read(self, dialog_id: int, message_id: int) -> None:
        from telethon.tl.functions.messages import ReadHistoryRequest

        await self._quietly(dialog_id, lambda peer: ReadHistoryRequest(peer, message_id))

    # --- sending ---

    async def _settled(self, bubble: Bubble) -> Delivered | None:
        """What the store says now that everything is applied. Raises NotSent if the bubble must not go any more."""
        async with self._store.connect() as connection:
            now = await outbox.get(connection, bubble.id)
            draft = await drafts.get(connection, bubble.draft_id)
            if now and now.state == "sent" and now.sent_message_id is not None:
                message = await messages.get(connection, CHANNEL, now.dialog_id, now.sent_message_id)
                return Delivered(now.sent_message_id, message.sent_at if message else utc_now())
            if now is None or draft is None or now.state != "sending":
                raise NotSent(Outcome.REFUSED, "it was withdrawn")
            if await messages.written_by_hand_after(connection, CHANNEL, now.dialog_id, draft.answers_message_id):
                raise NotSent(Outcome.REFUSED, "you wrote there yourself")
        return None

    async def _request(self, bubble: Bubble, request: Any) -> Delivered:
        try:
            delivered = delivered_by(await self._live.call(request), bubble.random_id)
        except TelegramError as exc:
            if not is_duplicate(exc):
                raise not_sent(exc) from exc
            delivered = Delivered(None, utc_now())
        if delivered.message_id is None:
            delivered = await self._find(bubble) or delivered
        if delivered.message_id is not None:
            self._live.sends.note(bubble.dialog_id, delivered.message_id)
        return delivered

    async def _find(self, bubble: Bubble) -> Delivered | None:
        """The first that it may be: it is known to be there."""
        try:
            return next(iter(await self._candidates(bubble)), None)
        except CannotTell:
            return None  # its id stays unknown

    async def _candidates(self, bubble: Bubble) -> list[Delivered]:
        """Which messages may be this bubble, oldest first. Raises CannotTell if the chat cannot be read."""
        try:
            own = await self._own_since(bubble)
        except TelegramError as exc:
            raise CannotTell from exc
        async with self._store.connect() as connection:
            return [
                Delivered(message.message_id, message.sent_at)
                for message in own
                if await could_be(connection, bubble, message)
                and not await outbox.is_recorded(connection, CHANNEL, message.dialog_id, message.message_id)
            ]

    async def _own_since(self, bubble: Bubble) -> list[Message]:
        """The owner's messages after the one that the bubble answers, oldest first. Raises TelegramError if there are too many."""
        from telethon.tl.functions.messages import GetHistoryRequest

        peer = await self._live.peer(bubble.dialog_id)
        if peer is None:
            raise TelegramError("Telegram knows no such chat.")
        async with self._store.connect() as connection:
            draft = await drafts.get(connection, bubble.draft_id)
        above = draft.answers_message_id if draft else 0
        found: list[Message] = []
        offset = 0
        for _ in range(HISTORY_PAGES):
            page = await self._live.call(GetHistoryRequest(peer, offset, None, 0, HISTORY_PAGE, 0, above, 0))
            found += [message for message in map_private(self._live.account, page.messages) if message.out]
            if len(page.messages) < HISTORY_PAGE:
                return sorted(found, key=lambda message: message.message_id)
            offset = page.messages[-1].id
        raise TelegramError("The chat is too long to be looked through.")

    async def _quietly(self, dialog_id: int, request: Any) -> None:
        try:
            if peer := await self._live.peer(dialog_id):
                await self._live.call(request(peer))
        except TelegramError:
            pass  # it matters little; a lost connection is logged where it is mended


def delivered_by(answer: Any, random_id: int) -> Delivered:
    """Telegram answers a send in a short form, or with updates among which the id has to be looked for."""
    if type(answer).__name__ == "UpdateShortSentMessage":
        return Delivered(answer.id, answer.date)
    sent_at: dict[int, datetime] = {}
    message_id = None
    for update in getattr(answer, "updates", ()):
        match type(update).__name__:
            case "UpdateMessageID" if update.random_id == random_id:
                message_id = update.id
            case "UpdateNewMessage":
                sent_at[update.message.id] = update.message.date
    return Delivered(message_id, sent_at.get(message_id or 0) or utc_now())
