"""The server's RSA key (a fixed test key, no secret) and Telegram's Diffie-Hellman group."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

import rsa
from telethon.crypto import AES
from telethon.tl import TLObject

from sandbox.mtproto.transport import ProtocolError

# Telegram's own prime, sent with g = 3; kurigram refuses any other.
DH_PRIME = int(
    "C71CAEB9C6B1C9048E6C522F70F13F73980D40238E3E21C14934D037563D930F48198A0AA7C14058229493D22530F4DB"
    "FA336F6E0AC925139543AED44CCE7C3720FD51F69458705AC68CD4FE6B6B13ABDC9746512969328454F18FAF8C595F64"
    "2477FE96BB2A941D5BCD1D4AC8CC49880708FA9B378E3C4F3A9060BEE67CF9A4A4A695811051907E162753B56B0F6B41"
    "0DBA74D8A84B2A14B3144E0EF1284754FD17ED950D5965B4B9DD46582DB1178D169C6BC465B0D6FF9CA3928FEF5B9AE4"
    "E418FC15E83EBEA0F87FA9FF5EED70050DED2849F47BF959D956850CE929851F0D8115F635B105EE2E4E15D04B2454BF"
    "6F4FADF034B10403119CD8E3B92FCC5B",
    16,
)
DH_G = 3


def minimal_bytes(number: int) -> bytes:
    """Big-endian without leading zeros, as TL writes large numbers."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


class ServerKey:
    """The RSA key pair whose public half a client has to trust."""

    def __init__(self) -> None:
        pem = files("sandbox.mtproto").joinpath("test_key.pem").read_bytes()
        self._private: Any = rsa.PrivateKey.load_pkcs1(pem)
        public = rsa.PublicKey(self._private.n, self._private.e)
        self.modulus: int = public.n
        self.exponent: int = public.e
        self.public_pem: str = public.save_pkcs1().decode()
        numbers = TLObject.serialize_bytes(minimal_bytes(public.n)) + TLObject.serialize_bytes(minimal_bytes(public.e))
        self.fingerprint: int = int.from_bytes(hashlib.sha1(numbers).digest()[-8:], "little", signed=True)

    def decrypt(self, encrypted: bytes) -> bytes:
        """The serialised p_q_inner_data, possibly with padding behind it. Two paddings exist in the wild.

        RSA_PAD is today's (TDLib, gotd, mtcute); the SHA-1 one is older and what Telethon and kurigram send. The hash inside
        tells which. https://core.telegram.org/mtproto/auth_key#presenting-proof-of-work-server-authentication
        """
        block: bytes = pow(int.from_bytes(encrypted, "big"), self._private.d, self._private.n).to_bytes(256, "big")
        temp_key = bytes(a ^ b for a, b in zip(block[:32], hashlib.sha256(block[32:]).digest(), strict=True))
        hashed = AES.decrypt_ige(block[32:], temp_key, bytes(32))
        padded = bytes(hashed[191::-1])
        if hashlib.sha256(temp_key + padded).digest() == hashed[192:]:
            return padded
        if block[0] == 0:
            return block[1:]
        raise ProtocolError("RSA block has no valid padding")
