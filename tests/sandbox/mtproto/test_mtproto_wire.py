"""The wire itself, driven by hand: today's RSA padding, containers, and what is cut off without being an error of ours."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mtproto_cast import OWNER
from telethon.crypto import AES
from telethon.extensions import BinaryReader
from telethon.tl import TLObject, functions, types
from telethon.tl.core import GzipPacked, MessageContainer, RpcResult

from sandbox.mtproto import MtprotoServer
from sandbox.mtproto.crypto import messages
from sandbox.mtproto.crypto.handshake import P, Q
from sandbox.mtproto.crypto.keys import DH_PRIME


def rsa_pad(data: bytes, modulus: int, exponent: int) -> bytes:
    """The client's side of RSA_PAD, from https://core.telegram.org/mtproto/auth_key#41-rsa-paddata-server-public-key."""
    padded = data + os.urandom(192 - len(data))
    while True:
        temp_key = os.urandom(32)
        with_hash = padded[::-1] + hashlib.sha256(temp_key + padded).digest()
        encrypted = AES.encrypt_ige(with_hash, temp_key, bytes(32))
        key_xor = bytes(a ^ b for a, b in zip(temp_key, hashlib.sha256(encrypted).digest(), strict=True))
        if (number := int.from_bytes(key_xor + encrypted, "big")) < modulus:
            return pow(number, exponent, modulus).to_bytes(256, "big")


class Wire:
    """An intermediate-framed client that does nothing by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.key = b""
        self.salt = 0
        self.session_id = 5
        writer.write(b"\xee" * 4)

    async def read(self) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(int.from_bytes(await self.reader.readexactly(4), "little")), 5)

    def write(self, packet: bytes) -> None:
        self.writer.write(struct.pack("<i", len(packet)) + packet)

    async def plain(self, request: Any) -> Any:
        body = bytes(request)
        self.write(struct.pack("<qqi", 0, int(time.time()) << 32, len(body)) + body)
        return BinaryReader((await self.read())[20:]).tgread_object()

    async def make_key(self, server: MtprotoServer) -> Any:
        nonce, new_nonce = 11, int.from_bytes(os.urandom(32), "little", signed=True)
        pq = await self.plain(functions.ReqPqMultiRequest(nonce))
        p, q = P.to_bytes(4, "big"), Q.to_bytes(4, "big")
        inner = types.PQInnerDataDc(pq.pq, p, q, nonce, pq.server_nonce, new_nonce, 2)
        sealed = rsa_pad(bytes(inner), server.rsa_key.modulus, server.rsa_key.exponent)
        params = await self.plain(functions.ReqDHParamsRequest(nonce, pq.server_nonce, p, q, server.rsa_key.fingerprint, sealed))
        new, old = new_nonce.to_bytes(32, "little", signed=True), pq.server_nonce.to_bytes(16, "little", signed=True)
        sha = [hashlib.sha1(parts).digest() for parts in (new + old, old + new, new + new)]
        aes = sha[0] + sha[1][:12], sha[1][12:] + sha[2] + new[:4]
        dh = BinaryReader(AES.decrypt_ige(params.encrypted_answer, *aes)[20:]).tgread_object()
        b = int.from_bytes(os.urandom(256), "big")
        body = bytes(types.ClientDHInnerData(nonce, pq.server_nonce, 0, pow(dh.g, b, DH_PRIME).to_bytes(256, "big")))
        hashed = hashlib.sha1(body).digest() + body
        hashed += bytes(-len(hashed) % 16)
        done = await self.plain(functions.SetClientDHParamsRequest(nonce, pq.server_nonce, AES.encrypt_ige(hashed, *aes)))
        self.key = pow(int.from_bytes(dh.g_a, "big"), b, DH_PRIME).to_bytes(256, "big")
        return done

    def send(self, body: bytes, *, msg_id: int | None = None) -> int:
        msg_id = int(time.time()) << 32 | int.from_bytes(os.urandom(3), "little") << 2 if msg_id is None else msg_id
        plain = struct.pack("<qqqii", self.salt, self.session_id, msg_id, 1, len(body)) + body
        plain += os.urandom(-(len(plain) + 12) % 16 + 12)
        msg_key = hashlib.sha256(self.key[88:120] + plain).digest()[8:24]
        sealed = AES.encrypt_ige(plain, *messages._aes_key_and_iv(self.key, msg_key, 0))
        self.write(struct.pack("<Q", messages.key_id_of(self.key)) + msg_key + sealed)
        return msg_id

    async def receive(self) -> Any:
        packet = await self.read()
        plain = AES.decrypt_ige(packet[24:], *messages._aes_key_and_iv(self.key, packet[8:24], 8))
        assert struct.unpack_from("<q", plain, 8) == (self.session_id,)
        return BinaryReader(plain[32:]).tgread_object()

    async def closed(self) -> bool:
        return await ended(self.reader)


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the server closes or resets the connection without another word."""
    try:
        return await asyncio.wait_for(reader.read(1), 5) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
async def bare_wire(server: MtprotoServer) -> AsyncIterator[Wire]:
    """A connection without a key."""
    wire = Wire(*await asyncio.open_connection("127.0.0.1", server.port))
    yield wire
    wire.writer.transport.abort()


@pytest.fixture
def wire(server: MtprotoServer, bare_wire: Wire) -> Wire:
    """A connection with a key and the right salt, signed in as the owner."""
    bare_wire.key, bare_wire.salt = server.add_key(os.urandom(256), OWNER).data, server.salt
    return bare_wire


async def test_todays_rsa_padding_makes_a_key(server: MtprotoServer, bare_wire: Wire) -> None:
    done = await bare_wire.make_key(server)
    assert isinstance(done, types.DhGenOk)
    assert [key.data for key in server.auth_keys.values()] == [bare_wire.key]


async def test_a_wrong_salt_is_corrected_and_a_new_session_is_announced(server: MtprotoServer, wire: Wire) -> None:
    wire.salt = 0
    msg_id = wire.send(bytes(functions.PingRequest(1)))
    created, refused = await wire.receive(), await wire.receive()
    assert isinstance(created, types.NewSessionCreated)
    assert (refused.bad_msg_id, refused.error_code, refused.new_server_salt) == (msg_id, 48, server.salt)


@pytest.mark.parametrize(("shift", "code"), [(-400, 16), (100, 17)])
async def test_message_ids_far_from_the_clock_are_refused(shift: int, code: int, wire: Wire) -> None:
    wire.send(bytes(functions.PingRequest(1)), msg_id=int(time.time() + shift) << 32)
    _, refused = await wire.receive(), await wire.receive()
    assert refused.error_code == code


async def test_a_message_id_not_divisible_by_four_is_refused(wire: Wire) -> None:
    wire.send(bytes(functions.PingRequest(1)), msg_id=int(time.time()) << 32 | 1)
    _, refused = await wire.receive(), await wire.receive()
    assert refused.error_code == 18


async def test_a_container_with_gzip_is_opened_and_each_part_answered(wire: Wire) -> None:
    ask = bytes(functions.updates.GetStateRequest())
    packed = struct.pack("<I", GzipPacked.CONSTRUCTOR_ID) + TLObject.serialize_bytes(gzip.compress(ask))
    now = int(time.time()) << 32
    parts = [(now + 4, bytes(functions.PingRequest(7))), (now + 8, packed), (now + 12, bytes(types.MsgsAck([1])))]
    body = b"".join(struct.pack("<qii", i, 1, len(part)) + part for i, part in parts)
    wire.send(struct.pack("<Ii", MessageContainer.CONSTRUCTOR_ID, len(parts)) + body, msg_id=now + 16)
    _, pong, answer = await wire.receive(), await wire.receive(), await wire.receive()
    assert (pong.msg_id, pong.ping_id) == (now + 4, 7)
    assert isinstance(answer, RpcResult)
    assert answer.req_msg_id == now + 8


async def test_the_same_message_is_executed_once(server: MtprotoServer, wire: Wire) -> None:
    msg_id = wire.send(bytes(functions.updates.GetStateRequest()))
    _ = await wire.receive(), await wire.receive()
    wire.send(bytes(functions.updates.GetStateRequest()), msg_id=msg_id)
    assert (await wire.receive()).msg_ids == [msg_id]
    assert [c.name for c in server.calls] == ["GetState"]


async def test_an_unknown_constructor_is_refused_by_its_number(server: MtprotoServer, wire: Wire) -> None:
    wire.send(struct.pack("<II", 0xDEADBEEF, 0))
    _, answer = await wire.receive(), await wire.receive()
    assert answer.error.error_message == "INPUT_METHOD_INVALID_deadbeef"
    assert server.unhandled == ["deadbeef"]
    server.unhandled.clear()


async def test_a_foreign_layer_is_refused(wire: Wire) -> None:
    wire.send(bytes(functions.InvokeWithLayerRequest(1, functions.help.GetConfigRequest())))
    _, answer = await wire.receive(), await wire.receive()
    assert answer.error.error_message == "CONNECTION_LAYER_INVALID"


async def test_an_unknown_key_is_minus_404(bare_wire: Wire) -> None:
    bare_wire.key = os.urandom(256)
    bare_wire.send(bytes(functions.PingRequest(1)))
    assert await bare_wire.read() == struct.pack("<i", -404)
    assert await bare_wire.closed()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\xef\x01",
        b"\xee\xee\xee\xee\x10\x00\x00\x00" + bytes(16),
        b"\xee\xee\xee\xee\x18\x00\x00\x00" + bytes(24),
        b"\xee\xee\xee\xee\x18\x00\x00\x00" + bytes(20) + functions.ReqPqMultiRequest.CONSTRUCTOR_ID.to_bytes(4, "little"),
        b"\xee\xee\xee\xee\xff\xff\xff\x7f",
        struct.pack("<II", 16, 0) + bytes(8),
    ],
)
async def test_garbage_is_cut_off_and_harms_nobody(garbage: bytes, server: MtprotoServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(garbage)
    writer.write_eof()
    assert await ended(reader)
    writer.transport.abort()
    assert server.errors == []


async def test_a_tampered_packet_is_cut_off(server: MtprotoServer, wire: Wire) -> None:
    packet = struct.pack("<Q", messages.key_id_of(wire.key)) + os.urandom(16 + 96)
    wire.write(packet)
    assert await wire.closed()
    assert server.sessions == {}
