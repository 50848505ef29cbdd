"""Encryption of messages, MTProto 2.0. https://core.telegram.org/mtproto/description"""

from __future__ import annotations

import hashlib
import os
import struct
from typing import NamedTuple

from telethon.crypto import AES

from sandbox.mtproto.transport import ProtocolError

FROM_CLIENT, FROM_SERVER = 0, 8  # x in the specification


class ClientMessage(NamedTuple):
    salt: int
    session_id: int
    msg_id: int
    seq_no: int
    body: bytes


def key_id_of(key: bytes) -> int:
    return int.from_bytes(hashlib.sha1(key).digest()[-8:], "little")


def _aes_key_and_iv(key: bytes, msg_key: bytes, x: int) -> tuple[bytes, bytes]:
    a = hashlib.sha256(msg_key + key[x : x + 36]).digest()
    b = hashlib.sha256(key[x + 40 : x + 76] + msg_key).digest()
    return a[:8] + b[8:24] + a[24:], b[:8] + a[8:24] + b[24:]


def encrypt(key: bytes, salt: int, session_id: int, msg_id: int, seq_no: int, body: bytes) -> bytes:
    """A packet from the server to the client."""
    plain = struct.pack("<qqqii", salt, session_id, msg_id, seq_no, len(body)) + body
    plain += os.urandom(-(len(plain) + 12) % 16 + 12)
    msg_key = hashlib.sha256(key[88 + FROM_SERVER : 120 + FROM_SERVER] + plain).digest()[8:24]
    head = struct.pack("<Q", key_id_of(key)) + msg_key
    return head + bytes(AES.encrypt_ige(plain, *_aes_key_and_iv(key, msg_key, FROM_SERVER)))


def decrypt(key: bytes, packet: bytes) -> ClientMessage:
    """A packet from the client; ProtocolError if the key does not fit or the lengths lie."""
    msg_key = packet[8:24]
    if len(packet) < 24 + 48 or (len(packet) - 24) % 16:
        raise ProtocolError("bad packet length")
    plain = AES.decrypt_ige(packet[24:], *_aes_key_and_iv(key, msg_key, FROM_CLIENT))
    if hashlib.sha256(key[88 + FROM_CLIENT : 120 + FROM_CLIENT] + plain).digest()[8:24] != msg_key:
        raise ProtocolError("bad msg_key")
    salt, session_id, msg_id, seq_no, length = struct.unpack_from("<qqqii", plain)
    if not 12 <= len(plain) - 32 - length <= 1024:
        raise ProtocolError("bad padding")
    return ClientMessage(salt, session_id, msg_id, seq_no, plain[32 : 32 + length])
