"""What happened since a state: asked for, and put into the store's words. https://core.telegram.org/api/updates"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bot.live import Account
from bot.live.apply import News
from bot.live.people import Call, pages
from twin.errors import UndecodableError
from twin.turns import Message

HISTORY_PAGE = 100
HISTORY_PAGES = 10  # of one dialog, after a gap that Telegram does not tell any more
BELLS = {"UpdateNewMessage", "UpdateEditMessage", "UpdateDeleteMessages"}  # all others change nothing in a private chat's words


@dataclass(frozen=True)
class State:
    """Up to where the account's events are known."""

    pts: int
    qts: int
    date: int  # unix seconds

    def to_fact(self) -> dict[str, int]:
        return {"pts": self.pts, "qts": self.qts, "date": self.date}


def state_of(raw: Any) -> State:
    return State(raw.pts, raw.qts, int(raw.date.timestamp()))


def rings(pushed: Any) -> bool:
    """Whether a push may be about a private chat."""
    shape = type(pushed).__name__
    if shape in ("Updates", "UpdatesCombined"):
        return any(type(update).__name__ in BELLS for update in pushed.updates)
    return type(pushed.update).__name__ in BELLS if shape == "UpdateShort" else shape != "UpdateShortSentMessage"


def difference_request(state: State) -> Any:
    from telethon.tl.functions.updates import GetDifferenceRequest

    return GetDifferenceRequest(pts=state.pts, date=datetime.fromtimestamp(state.date, UTC), qts=state.qts)


def news_of(account: Account, answer: Any) -> News:
    """A Difference or DifferenceSlice. What was deleted again meanwhile is not among the new messages: Telegram leaves it out."""
    edits, deleted = [], []
    for update in answer.other_updates:
        match type(update).__name__:
            case "UpdateEditMessage":
                edits.append(update.message)
            case "UpdateDeleteMessages":
                deleted += update.messages
    return News(_to_messages(account, answer.new_messages), [*map_private(account, edits)], deleted)


def map_private(account: Account, raws: Iterable[Any]) -> Iterable[Message]:
    for raw in raws:
        if type(getattr(raw, "peer_id", None)).__name__ == "PeerUser" and (message := account.to_message(raw, raw.peer_id.user_id)):
            yield message


def _to_messages(account: Account, raws: Iterable[Any]) -> list[Message]:
    return sorted(map_private(account, raws), key=lambda message: message.message_id)


async def read_gap(
    account: Account, call: Call, since: State, known: Mapping[int, int], left_out: set[int]
) -> tuple[News, list[Any], list[tuple[Any, UndecodableError]]]:
    """New messages since a state that Telegram does not go back to: from the dialogs that were active since, above the highest id
    `known` of each. With them the people that came along, and those whose chats cannot be read. Edits and deletions of that time are the
    nightly collection's."""
    raws: list[Any] = []
    unread: list[tuple[Any, UndecodableError]] = []
    users: list[Any] = []
    async for page in pages(call):
        users += page.users
        tops = {message.peer_id.user_id: message for message in page.messages if type(message.peer_id).__name__ == "PeerUser"}
        by_id = {user.id: user for user in page.users}
        for dialog_id, top in tops.items():
            fresh = top.id > known.get(dialog_id, 0) and _seconds(top) >= since.date
            if fresh and dialog_id not in left_out and account.is_person(by_id[dialog_id]):
                try:
                    raws += await _history(call, by_id[dialog_id], known.get(dialog_id, 0), since)
                except UndecodableError as exc:
                    unread.append((by_id[dialog_id], exc))
        if not page.messages or min(map(_seconds, page.messages)) < since.date:
            break
    return News(_to_messages(account, raws), [], []), users, unread


async def _history(call: Call, user: Any, above: int, since: State) -> list[Any]:
    from telethon.tl.functions.messages import GetHistoryRequest
    from telethon.utils import get_input_peer

    found: list[Any] = []
    offset = 0
    for _ in range(HISTORY_PAGES):
        page = await call(GetHistoryRequest(get_input_peer(user), offset, None, 0, HISTORY_PAGE, 0, above, 0))
        fresh = [raw for raw in page.messages if type(raw).__name__ != "MessageEmpty" and _seconds(raw) >= since.date]
        found += fresh
        if len(fresh) < HISTORY_PAGE:
            break
        offset = fresh[-1].id
    return found


def _seconds(raw: Any) -> int:
    return int(raw.date.timestamp()) if getattr(raw, "date", None) else 0
