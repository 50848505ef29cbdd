"""One TCP connection: its framing, the key exchange, and encrypted packets handed to their sessions."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

from telethon.errors import TypeNotFoundError

from sandbox.mtproto.crypto import messages
from sandbox.mtproto.crypto.handshake import Handshake
from sandbox.mtproto.session import AuthKey, Session
from sandbox.mtproto.transport import Framing, ProtocolError, read_object, recognise

if TYPE_CHECKING:
    from sandbox.mtproto.server import MtprotoServer

AUTH_KEY_UNKNOWN = -404  # a transport error is four bytes


class Connection:
    def __init__(self, server: MtprotoServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self._framing: Framing | None = None
        self._handshake = Handshake(server.rsa_key)
        self._sessions: dict[tuple[int, int], Session] = {}

    async def serve(self) -> None:
        """Read packets until the client goes or misbehaves."""
        try:
            self._framing = await recognise(self._reader, self._writer)
            while True:
                self._on_packet(await self._framing.read())
                await self._writer.drain()
        except (ProtocolError, OSError, asyncio.IncompleteReadError):
            pass  # the client went, we cut it off, or it is not speaking MTProto: all end the same way
        finally:
            self.abort()
            for address in self._sessions:
                self._server.sessions.pop(address, None)

    def abort(self) -> None:
        """Cut the connection with a reset: a polite close would hide bugs in clients."""
        self._writer.transport.abort()

    def write(self, packet: bytes) -> None:
        if self._framing and not self._writer.transport.is_closing():
            self._framing.write(packet)

    def _on_packet(self, packet: bytes) -> None:
        if len(packet) < 20:
            raise ProtocolError("packet too short")
        (key_id,) = struct.unpack_from("<Q", packet)
        if key_id == 0:
            self._on_plain(packet)
        elif key := self._server.auth_keys.get(key_id):
            message = messages.decrypt(key.data, packet)
            self._session(key, message.session_id, message.msg_id).receive(message)
        else:
            self.write(struct.pack("<i", AUTH_KEY_UNKNOWN))
            self._writer.close()  # after the four bytes have gone out

    def _session(self, key: AuthKey, session_id: int, msg_id: int) -> Session:
        address = (key.id, session_id)
        session = self._sessions.get(address)
        if session is None:
            session = Session(self._server, key, session_id, self)
            self._sessions[address] = self._server.sessions[address] = session
            session.announce(msg_id)
        return session

    def _on_plain(self, packet: bytes) -> None:
        try:
            request, _ = read_object(packet[20:])
        except TypeNotFoundError:
            raise ProtocolError("unknown plain message") from None
        answer = self._handshake.answer(request, self._server.now())
        if self._handshake.key is not None:
            self._server.add_key(self._handshake.key)
        self._write_plain(answer)

    def _write_plain(self, answer: Any) -> None:
        body = bytes(answer)
        self.write(struct.pack("<qqi", 0, self._server.next_msg_id(answer=True), len(body)) + body)
