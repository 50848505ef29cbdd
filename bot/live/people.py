"""Who is on the other side of a chat, and by which access hash Telegram lets us write there.

A session of ours remembers nobody over a restart. Every difference brings the people that it mentions; whoever is missing is
looked up in the list of dialogs, newest first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bot.live import Account

Call = Callable[[Any], Awaitable[Any]]
PAGE = 100
PAGES = 50  # dialogs beyond 5,000 are not searched for somebody


@dataclass(frozen=True)
class Person:
    name: str
    username: str | None
    access_hash: int


class People:
    def __init__(self) -> None:
        self._known: dict[int, Person | None] = {}  # None: known to be no person

    def learn(self, account: Account, entities: Iterable[Any]) -> None:
        for entity in entities:
            # A `min` user comes along with a message of some group, and its access hash opens nothing.
            if type(entity).__name__ != "User" or getattr(entity, "min", False):
                continue
            found = Person(account.full_name(entity), entity.username, entity.access_hash or 0) if account.is_person(entity) else None
            self._known[entity.id] = found

    async def find(self, account: Account, call: Call, dialog_ids: set[int]) -> dict[int, Person]:
        """Those of these chats that are with people. Raises TelegramError."""
        if dialog_ids - self._known.keys():
            async for page in pages(call):
                self.learn(account, page.users)
                if not dialog_ids - self._known.keys():
                    break
            for dialog_id in dialog_ids - self._known.keys():
                self._known[dialog_id] = None
        return {dialog_id: person for dialog_id in dialog_ids if (person := self._known.get(dialog_id))}

    async def peer(self, account: Account, call: Call, dialog_id: int) -> Any:
        """What Telethon's requests take for this chat; None if there is no such chat with a person. Raises TelegramError."""
        from telethon.tl.types import InputPeerUser

        person = (await self.find(account, call, {dialog_id})).get(dialog_id)
        return InputPeerUser(dialog_id, person.access_hash) if person else None


async def pages(call: Call) -> Any:
    """The list of dialogs, newest first, page by page (messages.getDialogs). Raises TelegramError."""
    from telethon.tl.functions.messages import GetDialogsRequest
    from telethon.tl.types import InputPeerEmpty

    date, last_id, peer = None, 0, InputPeerEmpty()
    for _ in range(PAGES):
        page = await call(GetDialogsRequest(date, last_id, peer, PAGE, 0))
        yield page
        last = _last(page)
        if last is None or type(page).__name__ == "Dialogs":
            return
        date, last_id, peer = last


def _last(page: Any) -> tuple[Any, int, Any] | None:
    """Where the next page begins: after the last dialog whose newest message is shown."""
    from telethon.utils import get_input_peer, get_peer_id

    chats = {get_peer_id(entity): entity for entity in [*page.users, *page.chats]}
    tops = {(get_peer_id(message.peer_id), message.id): message for message in page.messages}
    for dialog in reversed(page.dialogs):
        place = get_peer_id(dialog.peer)
        top = tops.get((place, dialog.top_message))
        if top is not None and getattr(top, "date", None) and place in chats:
            return top.date, top.id, get_input_peer(chats[place], check_hash=False)
    return None
