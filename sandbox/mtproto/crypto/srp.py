"""The 2FA password check by SRP, the server's half. https://core.telegram.org/api/srp"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any

from telethon.tl import types

from sandbox.mtproto.crypto.keys import DH_G, DH_PRIME

SALT1, SALT2 = b"sandbox salt one" * 2, b"sandbox salt two"


def _pad(number: int) -> bytes:
    return number.to_bytes(256, "big")


def _hash(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def verifier(password: str) -> int:
    """v = g^x, x from the password by Telegram's PH2 (100,000 rounds of PBKDF2: a tenth of a second)."""
    first = _hash(SALT2, _hash(SALT1, password.encode(), SALT1), SALT2)
    slow = hashlib.pbkdf2_hmac("sha512", first, SALT1, 100_000)
    return pow(DH_G, int.from_bytes(_hash(SALT2, slow, SALT2), "big"), DH_PRIME)


def algorithm() -> Any:
    return types.PasswordKdfAlgoSHA256SHA256PBKDF2HMACSHA512iter100000SHA256ModPow(SALT1, SALT2, DH_G, _pad(DH_PRIME))


@dataclass(frozen=True)
class Challenge:
    """One account.getPassword: answered once, by the srp_id it was given out with."""

    srp_id: int
    verifier: int
    secret: int
    public: bytes  # B


def challenge(srp_id: int, password_verifier: int) -> Challenge:
    secret = int.from_bytes(os.urandom(256), "big")
    k = int.from_bytes(_hash(_pad(DH_PRIME), _pad(DH_G)), "big")
    return Challenge(srp_id, password_verifier, secret, _pad((k * password_verifier + pow(DH_G, secret, DH_PRIME)) % DH_PRIME))


def proves(asked: Challenge, client_public: bytes, proof: bytes) -> bool:
    """Whether `proof` (M1) shows that the client knows the password."""
    a = int.from_bytes(client_public, "big")
    if a % DH_PRIME == 0:
        return False
    u = int.from_bytes(_hash(_pad(a), asked.public), "big")
    session_key = _hash(_pad(pow(a * pow(asked.verifier, u, DH_PRIME), asked.secret, DH_PRIME)))
    group = bytes(x ^ y for x, y in zip(_hash(_pad(DH_PRIME)), _hash(_pad(DH_G)), strict=True))
    return proof == _hash(group, _hash(SALT1), _hash(SALT2), _pad(a), asked.public, session_key)
