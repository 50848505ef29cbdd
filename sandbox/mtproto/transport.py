"""What goes over the wire: TL objects, and the three TCP framings of MTProto: full, abridged, intermediate.

The client's first bytes choose one: 0xef is abridged, 0xeeeeeeee is intermediate, anything else is the length field of a
first full packet (lengths are multiples of four, so none of them looks like 0xef).
https://core.telegram.org/mtproto/mtproto-transports
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from typing import Any, Protocol

from telethon.extensions import BinaryReader

MAX_PACKET = 1 << 24  # Telegram closes connections that send more


class ProtocolError(Exception):
    """The client broke MTProto. The connection is cut, as Telegram does."""


def read_object(data: bytes) -> tuple[Any, int]:
    """The TL object at the beginning of `data`, and its length. ProtocolError if it is cut short.

    A constructor that this layer does not have raises Telethon's TypeNotFoundError.
    """
    reader = BinaryReader(data)
    try:
        found = reader.tgread_object()
    except (BufferError, struct.error, RuntimeError) as error:
        raise ProtocolError("a TL object is cut short") from error
    return found, reader.tell_position()


class Framing(Protocol):
    async def read(self) -> bytes: ...

    def write(self, packet: bytes) -> None: ...


class Abridged:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        words = (await self._reader.readexactly(1))[0] & 0x7F  # the high bit asks for a quick ack, which is optional
        if words == 0x7F:
            words = int.from_bytes(await self._reader.readexactly(3), "little")
        return await self._reader.readexactly(words * 4)

    def write(self, packet: bytes) -> None:
        words = len(packet) >> 2
        self._writer.write((bytes([words]) if words < 0x7F else b"\x7f" + words.to_bytes(3, "little")) + packet)


class Intermediate:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        length = int.from_bytes(await self._reader.readexactly(4), "little") & 0x7FFFFFFF
        if length > MAX_PACKET:
            raise ProtocolError("packet too long")
        return await self._reader.readexactly(length)

    def write(self, packet: bytes) -> None:
        self._writer.write(len(packet).to_bytes(4, "little") + packet)


class Full:
    """Length, sequence number, payload, CRC32. `_length` holds the four bytes that were read to recognise the framing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first_four: bytes) -> None:
        self._reader, self._writer, self._length = reader, writer, first_four
        self._received = self._sent = 0

    async def read(self) -> bytes:
        four = self._length or await self._reader.readexactly(4)
        self._length = b""
        length = int.from_bytes(four, "little")
        if not 12 <= length <= MAX_PACKET:
            raise ProtocolError("bad packet length")
        body = await self._reader.readexactly(length - 4)
        if zlib.crc32(four + body[:-4]) != int.from_bytes(body[-4:], "little"):
            raise ProtocolError("bad checksum")
        if int.from_bytes(body[:4], "little") != self._received:
            raise ProtocolError("bad packet number")
        self._received += 1
        return body[4:-4]

    def write(self, packet: bytes) -> None:
        head = struct.pack("<II", len(packet) + 12, self._sent) + packet
        self._sent += 1
        self._writer.write(head + struct.pack("<I", zlib.crc32(head)))


async def recognise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Framing:
    """The framing that this client has chosen."""
    first = await reader.readexactly(1)
    if first == b"\xef":
        return Abridged(reader, writer)
    four = first + await reader.readexactly(3)
    return Intermediate(reader, writer) if four == b"\xee" * 4 else Full(reader, writer, four)
