"""Chats as sorted columns of ids and dates, kept up with the world, and Telegram's way of cutting a page out of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from sandbox.mtproto import peers
from sandbox.world import Deleted, Event, Message, World

PAGE_LIMIT = 100
DEFAULT_LIMIT = 20  # "When 0 is provided the limit will often default to an intermediate value like ~20"


@dataclass(frozen=True)
class Slice:
    """The paging fields that messages.getHistory and messages.search share; 0 means absent."""

    offset_id: int = 0
    offset_date: int = 0
    add_offset: int = 0
    limit: int = PAGE_LIMIT
    max_id: int = 0
    min_id: int = 0


@dataclass
class Column:
    """One chat, or what a search found in it, oldest first."""

    messages: list[Message] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    dates: list[int] = field(default_factory=list)
    dates_rise: bool = True  # imported histories may not

    def append(self, message: Message, message_id: int) -> None:
        self.dates_rise = self.dates_rise and (not self.dates or message.date >= self.dates[-1])
        self.messages.append(message)
        self.ids.append(message_id)
        self.dates.append(message.date)

    def page(self, cut: Slice) -> Sequence[Message]:
        """A page, newest first, as https://core.telegram.org/api/offsets has it.

        The offset is the number of messages with an id of at least `offset_id` (or else a date of at least `offset_date`),
        plus `add_offset`. A page that begins before the newest message is clipped, not shifted. `min_id` and `max_id`, both
        exclusive, thin out the page after that.
        """
        total = len(self.ids)
        start = self._offset(cut) + cut.add_offset
        limit = min(cut.limit or DEFAULT_LIMIT, PAGE_LIMIT)
        first, last = max(0, start), max(0, start + limit)
        low, high = max(0, total - last), max(0, total - first)
        if cut.min_id:
            low = max(low, bisect_left(self.ids, cut.min_id + 1))
        if cut.max_id:
            high = min(high, bisect_left(self.ids, cut.max_id))
        return self.messages[low:high][::-1]

    def _offset(self, cut: Slice) -> int:
        total = len(self.ids)
        if cut.offset_id:
            return total - bisect_left(self.ids, cut.offset_id)
        if cut.offset_date:
            if self.dates_rise:
                return total - bisect_left(self.dates, cut.offset_date)
            return sum(date >= cut.offset_date for date in self.dates)
        return 0


class Views:
    """A column for each chat that was asked for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._columns: dict[tuple[int, frozenset[int] | int], Column] = {}
        world.subscribe(self._on_event)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Deleted):
            gone = {message.chat for message in event.messages}
            self._columns = {key: column for key, column in self._columns.items() if key[1] not in gone}

    def column(self, viewer_id: int, chat_id: int) -> Column:
        """The chat as it is now; what was sent since the last look is appended."""
        box = peers.box_of(self._world, viewer_id, chat_id)
        chat = chat_id if chat_id in self._world.groups else frozenset((viewer_id, chat_id))
        column = self._columns.setdefault((box, chat), Column())
        history = self._world.history(viewer_id, chat_id)
        for message in history[len(column.ids) :]:
            column.append(message, message.ids[box])
        return column
