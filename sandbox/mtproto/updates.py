"""Live updates and catching up: a pts and a log for each account and for each channel. https://core.telegram.org/api/updates"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from telethon.tl import functions, types

from sandbox.faults import ON_UPDATES
from sandbox.mtproto import peers
from sandbox.mtproto.reads import Reads
from sandbox.mtproto.rpc import Call, Handler, RpcError
from sandbox.mtproto.session import AuthKey, Session
from sandbox.world import Deleted, Edited, Event, Message, Read, Sent, Typing

if TYPE_CHECKING:
    from sandbox.mtproto.server import MtprotoServer

ACTIONS = {
    "typing": types.SendMessageTypingAction,
    "cancel": types.SendMessageCancelAction,
    "record_voice": types.SendMessageRecordAudioAction,
    "record_video": types.SendMessageRecordVideoAction,
    "record_video_note": types.SendMessageRecordRoundAction,
    "choose_sticker": types.SendMessageChooseStickerAction,
    "find_location": types.SendMessageGeoLocationAction,
}
UPLOADS = {
    "upload_photo": types.SendMessageUploadPhotoAction,
    "upload_video": types.SendMessageUploadVideoAction,
    "upload_voice": types.SendMessageUploadAudioAction,
    "upload_document": types.SendMessageUploadDocumentAction,
    "upload_video_note": types.SendMessageUploadRoundAction,
}
ACTION_NAMES = {kind: name for name, kind in (ACTIONS | UPLOADS).items()}


@dataclass(frozen=True)
class Entry:
    """One event in a log. `message` is live: what catches up later gets its present state, or nothing once it is deleted."""

    pts: int
    count: int
    kind: str  # "new", "edit", or "other"
    message: Message | None
    build: Callable[[int], Any]  # viewer id -> TL update
    chats: tuple[int, ...]  # accounts and groups to send along


@dataclass
class Log:
    """pts begins at 1: Telegram refuses 0 as PERSISTENT_TIMESTAMP_EMPTY."""

    pts: int = 1
    entries: list[Entry] = field(default_factory=list)

    def since(self, pts: int) -> list[Entry]:
        return [entry for entry in self.entries if entry.pts > pts]


class Updates:
    def __init__(self, server: MtprotoServer) -> None:
        self._server = server
        self._world = server.world
        self._logs: dict[int, Log] = {}  # by account, or by channel
        self._origin: Session | None = None
        self._held: dict[int, list[bytes]] = {}  # account -> updates kept back by a "reorder" fault
        self.reads = Reads(server.world)
        server.world.subscribe(self._on_event)

    # --- state ---

    def log(self, box: int) -> Log:
        return self._logs.setdefault(box, Log())

    def pts(self, box: int) -> int:
        return self.log(box).pts

    def state(self, account_id: int) -> Any:
        return types.updates.State(self.pts(account_id), 0, self._server.now(), 0, self.reads.total(account_id))

    def pts_of(self, box: int, message: Message) -> int:
        """The pts that this message's newest event has in this box."""
        return next(entry.pts for entry in reversed(self.log(box).entries) if entry.message is message)

    @contextmanager
    def caused_by(self, session: Session) -> Iterator[None]:
        """What happens inside is not pushed to this session: it has it in its answer."""
        self._origin = session
        try:
            yield
        finally:
            self._origin = None

    # --- the world's events ---

    def _on_event(self, event: Event) -> None:
        self.reads.on_event(event)
        match event:
            case Sent():
                self._on_message(event.message, "new")
            case Edited():
                self._on_message(event.message, "edit")
            case Deleted():
                self._on_deleted(event)
            case Read():
                self._on_read(event)
            case Typing():
                self._on_typing(event)

    def _on_message(self, message: Message, kind: str) -> None:
        for box in message.ids:
            build = self._message_update(message, kind, box)
            self._append(box, kind, message, build, self._mentioned(message), author_id=message.sender_id)

    def _message_update(self, message: Message, kind: str, box: int) -> Callable[[int, int, int], Any]:
        in_channel = box in self._world.groups
        classes = {
            ("new", False): types.UpdateNewMessage,
            ("edit", False): types.UpdateEditMessage,
            ("new", True): types.UpdateNewChannelMessage,
            ("edit", True): types.UpdateEditChannelMessage,
        }
        update = classes[kind, in_channel]
        return lambda viewer, pts, count: update(self._server.renderer.render(message, viewer), pts, count)

    @staticmethod
    def _mentioned(message: Message) -> tuple[int, ...]:
        chats = (message.chat,) if isinstance(message.chat, int) else tuple(message.chat)
        others = (message.sender_id, message.forwarded_from, message.sender_business_bot_id)
        return (*chats, *(i for i in others if i is not None))

    def _on_deleted(self, event: Deleted) -> None:
        gone: dict[int, list[int]] = {}
        for message in event.messages:
            for box, message_id in message.ids.items():
                gone.setdefault(box, []).append(message_id)
        for box, ids in gone.items():
            self._append(box, "other", None, self._deletion(box, ids), (), count=len(ids))

    def _deletion(self, box: int, ids: list[int]) -> Callable[[int, int, int], Any]:
        if box in self._world.groups:
            return lambda _, pts, count: types.UpdateDeleteChannelMessages(peers.bare_id(box), ids, pts, count)
        return lambda _, pts, count: types.UpdateDeleteMessages(ids, pts, count)  # without the chat, as in Telegram

    def _on_read(self, event: Read) -> None:
        reader, other = event.reader_id, event.other_id
        if peers.is_channel(self._world, other):
            return
        left = self.reads.of(reader, other, event.max_id).unread_count
        here = peers.peer(self._world, other)

        def inbox(_: int, pts: int, count: int) -> Any:
            return types.UpdateReadHistoryInbox(here, event.max_id, left, pts, count)

        self._append(reader, "other", None, inbox, (other,))
        newest = self._world.in_box(reader, event.max_id)
        if other in self._world.groups or other == reader or newest is None:
            return
        there, max_id = peers.peer(self._world, reader), newest.ids.get(other, 0)

        def outbox(_: int, pts: int, count: int) -> Any:
            return types.UpdateReadHistoryOutbox(there, max_id, pts, count)

        self._append(other, "other", None, outbox, (reader,))

    def _on_typing(self, event: Typing) -> None:
        action = UPLOADS[event.action](0) if event.action in UPLOADS else ACTIONS.get(event.action, types.SendMessageTypingAction)()
        sender = types.PeerUser(event.sender_id)
        group = self._world.groups.get(event.receiver_id)
        update: Any
        if group is None:
            update = types.UpdateUserTyping(event.sender_id, action)
        elif group.kind == "basic_group":
            update = types.UpdateChatUserTyping(peers.bare_id(group.id), sender, action)
        else:
            update = types.UpdateChannelUserTyping(peers.bare_id(group.id), sender, action)
        for account_id in (group.members if group else {event.receiver_id}) - {event.sender_id}:
            self._push(account_id, lambda: update, (event.sender_id, event.receiver_id))

    # --- logging and pushing ---

    def _append(
        self,
        box: int,
        kind: str,
        message: Message | None,
        build: Callable[[int, int, int], Any],
        chats: tuple[int, ...],
        *,
        count: int = 1,
        author_id: int | None = None,
    ) -> None:
        """Log an event in a box and push it to the account, or to the members of the channel.

        A message by somebody else (`author_id`) goes even to the session whose request set it off, such as a bot's reply that is
        there before the request's answer.
        """
        log = self.log(box)
        log.pts += count
        pts = log.pts
        log.entries.append(Entry(pts, count, kind, message, lambda viewer: build(viewer, pts, count), chats))
        group = self._world.groups.get(box)
        for account_id in group.members if group else {box}:
            but = self._origin if author_id in (None, account_id) else None
            self._push(account_id, lambda viewer=account_id: build(viewer, pts, count), chats, but=but)  # type: ignore[misc]

    def push_login_token(self, key: AuthKey) -> None:
        """Tell a session that is not signed in yet that its QR token was accepted."""
        body = bytes(types.UpdateShort(types.UpdateLoginToken(), self._server.now()))
        for session in self._server.sessions.values():
            if session.key is key:
                session.send(body, answer=False)

    def _push(self, account_id: int, build: Callable[[], Any], chats: tuple[int, ...], *, but: Session | None = None) -> None:
        listening = [
            session
            for session in self._server.sessions.values()
            if session.key.account_id == account_id and session.wants_updates and session is not but
        ]
        if not listening:
            return
        cast = peers.Cast(self._world, account_id)
        for chat_id in chats:
            cast.add(chat_id)
        body = bytes(types.Updates([build()], cast.users(), cast.chats(), self._server.now(), 0))
        for ready in self._with_faults(account_id, body):
            for session in listening:
                session.send(ready, answer=False)

    def _with_faults(self, account_id: int, body: bytes) -> list[bytes]:
        """What goes out now: the update, twice if it is to be duplicated, or later if the next one is to overtake it."""
        fault = self._server.faults.take("updates", actions=ON_UPDATES)
        if fault and fault.action == "reorder":
            self._held.setdefault(account_id, []).append(body)
            return []
        held = self._held.pop(account_id, [])
        return [body, body, *held] if fault else [body, *held]


def get_state(call: Call, _request: Any) -> Any:
    return call.server.updates.state(call.account.id)


def _split(call: Call, entries: list[Entry], viewer: int) -> tuple[list[Any], list[Any], peers.Cast]:
    """New messages that still exist, the other updates, and who they mention."""
    cast = peers.Cast(call.world, viewer)
    new, other = [], []
    for entry in entries:
        if entry.message is not None and entry.message.uid not in call.world.messages:
            continue
        for chat_id in entry.chats:
            cast.add(chat_id)
        if entry.kind == "new" and entry.message is not None:
            new.append(call.server.renderer.render(entry.message, viewer))
        else:
            other.append(entry.build(viewer))
    return new, other, cast


def get_difference(call: Call, request: Any) -> Any:
    me = call.account.id
    updates = call.server.updates
    if request.pts < 1:
        raise RpcError(400, "PERSISTENT_TIMESTAMP_EMPTY")
    if request.pts > updates.pts(me):  # a state of another server, or of this one before it was started anew
        raise RpcError(400, "PERSISTENT_TIMESTAMP_INVALID")
    entries = updates.log(me).since(request.pts)
    if call.server.difference_most is not None and len(entries) > call.server.difference_most:
        return types.updates.DifferenceTooLong(updates.pts(me))
    if not entries:
        return types.updates.DifferenceEmpty(call.server.now(), 0)
    part = entries[: call.server.difference_slice]
    new, other, cast = _split(call, part, me)
    state = types.updates.State(part[-1].pts, 0, call.server.now(), 0, updates.reads.total(me))
    kind = types.updates.Difference if len(part) == len(entries) else types.updates.DifferenceSlice
    return kind(new, [], other, cast.chats(), cast.users(), state)


def get_channel_difference(call: Call, request: Any) -> Any:
    box = peers.resolve(call, request.channel)
    entries = call.server.updates.log(box).since(request.pts)
    if not entries:
        return types.updates.ChannelDifferenceEmpty(call.server.updates.pts(box), final=True)
    part = entries[: min(max(request.limit, 1), call.server.difference_slice)]
    new, other, cast = _split(call, part, call.account.id)
    cast.add(box)
    final = len(part) == len(entries)
    return types.updates.ChannelDifference(part[-1].pts, new, other, cast.chats(), cast.users(), final=final or None)


METHODS: dict[type, Handler] = {
    functions.updates.GetStateRequest: get_state,
    functions.updates.GetDifferenceRequest: get_difference,
    functions.updates.GetChannelDifferenceRequest: get_channel_difference,
}
