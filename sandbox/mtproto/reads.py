"""What has been read: unread counts and read marks, from the world's events. Silently loaded history counts as read."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from sandbox.mtproto import peers
from sandbox.world import Deleted, Event, Read, Sent, World


@dataclass(frozen=True)
class ReadState:
    """One chat as its dialog shows it."""

    inbox_max_id: int  # the newest message this account has read
    outbox_max_id: int  # the newest of its own that the other side has read
    unread_count: int


@dataclass
class _Unread:
    received: list[int] = field(default_factory=list)  # ids, rising
    sent: list[int] = field(default_factory=list)


class Reads:
    def __init__(self, world: World) -> None:
        self._world = world
        self._chats: dict[tuple[int, int], _Unread] = {}  # (account, chat) -> its unread ids

    def of(self, account_id: int, chat_id: int, top_id: int) -> ReadState:
        unread = self._chats.get((account_id, chat_id), _Unread())
        return ReadState(
            unread.received[0] - 1 if unread.received else top_id,
            unread.sent[0] - 1 if unread.sent else top_id,
            len(unread.received),
        )

    def total(self, account_id: int) -> int:
        return sum(len(unread.received) for (owner, _), unread in self._chats.items() if owner == account_id)

    def on_event(self, event: Event) -> None:
        match event:
            case Sent():
                self._sent(event)
            case Read():
                self._read(event)
            case Deleted():
                self._deleted(event)

    def _sent(self, event: Sent) -> None:
        message = event.message
        if isinstance(message.chat, int):
            for member in self._world.groups[message.chat].members - {message.sender_id}:
                if not self._world.accounts[member].is_bot:
                    message_id = message.ids[peers.box_of(self._world, member, message.chat)]
                    self._unread(member, message.chat).received.append(message_id)
        elif len(message.chat) == 2:
            other = message.other(message.sender_id)
            self._unread(message.sender_id, other).sent.append(message.ids[message.sender_id])
            self._unread(other, message.sender_id).received.append(message.ids[other])

    def _read(self, event: Read) -> None:
        received = self._unread(event.reader_id, event.other_id).received
        seen = received[: bisect_right(received, event.max_id)]
        del received[: len(seen)]
        if seen and event.other_id not in self._world.groups:
            newest = self._world.in_box(event.reader_id, seen[-1])
            sent = self._unread(event.other_id, event.reader_id).sent
            if newest:
                del sent[: bisect_right(sent, newest.ids[event.other_id])]

    def _deleted(self, event: Deleted) -> None:
        for message in event.messages:
            chat = message.chat
            members = self._world.groups[chat].members if isinstance(chat, int) else chat
            for account_id in members:
                unread = self._chats.get((account_id, peers.chat_of(message, account_id)))
                message_id = message.ids.get(peers.box_of(self._world, account_id, peers.chat_of(message, account_id)))
                for ids in (unread.received, unread.sent) if unread else ():
                    if message_id in ids:
                        ids.remove(message_id)

    def _unread(self, account_id: int, chat_id: int) -> _Unread:
        return self._chats.setdefault((account_id, chat_id), _Unread())
