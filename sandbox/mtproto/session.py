"""The message layer: auth keys, and sessions with their message ids, sequence numbers, salts and acknowledgements.

https://core.telegram.org/mtproto/service_messages, https://core.telegram.org/mtproto/service_messages_about_messages
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from telethon.errors import TypeNotFoundError
from telethon.extensions import BinaryReader
from telethon.tl import functions, types
from telethon.tl.core import GzipPacked, MessageContainer

from sandbox.mtproto.crypto import messages
from sandbox.mtproto.crypto.messages import ClientMessage
from sandbox.mtproto.transport import ProtocolError, read_object

if TYPE_CHECKING:
    from sandbox.mtproto.connection import Connection
    from sandbox.mtproto.server import MtprotoServer

MSG_ID_TOO_LOW, MSG_ID_TOO_HIGH, MSG_ID_NOT_BY_FOUR, BAD_SALT, BAD_CONTAINER = 16, 17, 18, 48, 64
OLDEST, NEWEST = -300, 30  # seconds around the server's clock within which Telegram accepts a message id
MAX_CONTAINER = 1020
DC_ID = 2  # the only data centre there is


@dataclass
class AuthKey:
    """A key that a client has agreed on with us, and who is signed in with it."""

    data: bytes
    account_id: int | None = None
    awaiting_password_of: int | None = None  # the code was right, the 2FA password is still due
    takeout_id: int | None = None
    device: str = ""
    id: int = field(init=False)

    def __post_init__(self) -> None:
        self.id = messages.key_id_of(self.data)


class Session:
    """One session id under one auth key, living as long as its connection."""

    def __init__(self, server: MtprotoServer, key: AuthKey, session_id: int, connection: Connection) -> None:
        self.server, self.key, self.id, self.connection = server, key, session_id, connection
        self.wants_updates = False
        self._content_sent = 0
        self._seen: set[int] = set()

    # --- sending ---

    def send(self, body: bytes, *, answer: bool, content: bool = True) -> None:
        """Send one message: an answer to the client's (msg_id 1 mod 4) or one on our own account (3 mod 4)."""
        seq_no = self._content_sent * 2 + content
        self._content_sent += content
        msg_id = self.server.next_msg_id(answer=answer)
        self.connection.write(messages.encrypt(self.key.data, self.server.salt, self.id, msg_id, seq_no, body))

    def announce(self, first_msg_id: int) -> None:
        self.send(bytes(types.NewSessionCreated(first_msg_id, self.id, self.server.salt)), answer=False)

    def _service(self, answer: Any) -> None:
        self.send(bytes(answer), answer=True, content=False)

    # --- receiving ---

    def receive(self, message: ClientMessage) -> None:
        """Check the salt and the message id, then act on the message or on each one of a container."""
        if message.salt != self.server.salt:
            self._service(types.BadServerSalt(message.msg_id, message.seq_no, BAD_SALT, self.server.salt))
        elif error := self._id_error(message.msg_id):
            self._service(types.BadMsgNotification(message.msg_id, message.seq_no, error))
        else:
            self._open(message.msg_id, message.seq_no, message.body)

    def _id_error(self, msg_id: int) -> int | None:
        if msg_id % 4:
            return MSG_ID_NOT_BY_FOUR
        age = (msg_id >> 32) - self.server.now()
        if age < OLDEST:
            return MSG_ID_TOO_LOW
        return MSG_ID_TOO_HIGH if age > NEWEST else None

    def _open(self, msg_id: int, seq_no: int, body: bytes) -> None:
        constructor = int.from_bytes(body[:4], "little")
        if constructor == GzipPacked.CONSTRUCTOR_ID:
            self._open(msg_id, seq_no, GzipPacked.from_reader(BinaryReader(body[4:])).data)
        elif constructor == MessageContainer.CONSTRUCTOR_ID:
            self._open_container(msg_id, seq_no, body)
        else:
            self._act(msg_id, body)

    def _open_container(self, msg_id: int, seq_no: int, body: bytes) -> None:
        (count,) = struct.unpack_from("<i", body, 4)
        if count > MAX_CONTAINER:
            self._service(types.BadMsgNotification(msg_id, seq_no, BAD_CONTAINER))
            return
        position = 8
        for _ in range(count):
            inner_id, inner_seq, length = struct.unpack_from("<qii", body, position)
            position += 16 + length
            if position > len(body):
                raise ProtocolError("container shorter than its messages")
            self._open(inner_id, inner_seq, body[position - length : position])

    def _act(self, msg_id: int, body: bytes) -> None:
        try:
            request, _ = read_object(body)
        except TypeNotFoundError as error:
            self.server.refuse_unknown(self, msg_id, f"{error.invalid_constructor_id:08x}")
            return
        match request:
            case types.MsgsAck() | types.MsgsAllInfo():
                pass
            case functions.PingRequest() | functions.PingDelayDisconnectRequest():
                self._service(types.Pong(msg_id, request.ping_id))
            case types.MsgsStateReq():
                states = bytes(4 if i in self._seen else 1 for i in request.msg_ids)
                self._service(types.MsgsStateInfo(msg_id, states))
            case functions.DestroySessionRequest():
                self._service(types.DestroySessionNone(request.session_id))
            case _ if msg_id in self._seen:
                self._service(types.MsgsAck([msg_id]))
            case _:
                self._seen.add(msg_id)
                self.server.serve(self, msg_id, request)
