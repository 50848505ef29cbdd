"""Who has read what: the unread counters and the double ticks. The world only passes `Read` on, so the page remembers."""

from __future__ import annotations

from sandbox.page.wire import uid_up_to
from sandbox.world import Event, Read, Sent, World


class ReadMarks:
    """Everything that was there at the start counts as read, and a bot reads at once, as Telegram shows it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._start = max(world.messages, default=0)
        self._marks: dict[tuple[int, int], int] = {}  # (reader, other) -> uid

    def hear(self, event: Event) -> None:
        match event:
            case Read(reader_id, other_id, max_id):
                self._raise(reader_id, other_id, uid_up_to(self._world, reader_id, other_id, max_id))
            case Sent(message) if isinstance(message.chat, frozenset):
                receiver_id = message.other(message.sender_id)
                receiver = self._world.accounts.get(receiver_id)
                if receiver is not None and receiver.is_bot:
                    self._raise(receiver_id, message.sender_id, message.uid)
                if message.sender_business_bot_id is None:  # who writes by hand has the chat open
                    self._raise(message.sender_id, receiver_id, message.uid)

    def read_up_to(self, reader_id: int, other_id: int) -> int:
        """The uid of the newest message of this chat that the reader has seen."""
        return max(self._start, self._marks.get((reader_id, other_id), 0))

    def unread(self, reader_id: int, other_id: int) -> int:
        seen, count = self.read_up_to(reader_id, other_id), 0
        for message in reversed(self._world.history(reader_id, other_id)):
            if message.uid <= seen:
                break
            count += message.sender_id != reader_id
        return count

    def _raise(self, reader_id: int, other_id: int, uid: int) -> None:
        self._marks[reader_id, other_id] = max(uid, self._marks.get((reader_id, other_id), 0))
