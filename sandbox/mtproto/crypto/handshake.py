"""The key exchange: req_pq_multi, req_DH_params, set_client_DH_params. https://core.telegram.org/mtproto/auth_key"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from telethon.crypto import AES
from telethon.errors import TypeNotFoundError
from telethon.tl import functions, types

from sandbox.mtproto.crypto.keys import DH_G, DH_PRIME, ServerKey, minimal_bytes
from sandbox.mtproto.transport import ProtocolError, read_object

# Two 31-bit primes: the puzzle need not be hard, both factors must fit four bytes.
P, Q = 1229739323, 1402015859


def _int_bytes(number: int, length: int) -> bytes:
    return number.to_bytes(length, "little", signed=True)


def _behind_sha1(block: bytes) -> Any:
    """The TL object behind its SHA-1 hash; padding may follow."""
    try:
        found, length = read_object(block[20:])
    except TypeNotFoundError:
        raise ProtocolError("no TL object behind the SHA-1") from None
    if hashlib.sha1(block[20 : 20 + length]).digest() != block[:20]:
        raise ProtocolError("bad SHA-1")
    return found


class Handshake:
    """One connection's key exchange; `key` is set once it is through."""

    def __init__(self, server_key: ServerKey) -> None:
        self._server_key = server_key
        self._nonce = self._server_nonce = self._new_nonce = 0
        self._secret = 0
        self._aes: tuple[bytes, bytes] = (b"", b"")
        self.key: bytes | None = None

    def answer(self, request: Any, server_time: int) -> Any:
        """The TL object to send back. ProtocolError for anything that the exchange does not expect."""
        if isinstance(request, (functions.ReqPqMultiRequest, functions.ReqPqRequest)):
            return self._res_pq(request)
        if not isinstance(request, (functions.ReqDHParamsRequest, functions.SetClientDHParamsRequest)):
            raise ProtocolError("not a request of the key exchange")
        if request.nonce != self._nonce or request.server_nonce != self._server_nonce:
            raise ProtocolError("wrong nonce")
        if isinstance(request, functions.ReqDHParamsRequest):
            return self._server_dh_params(request, server_time)
        return self._dh_gen(request)

    def _res_pq(self, request: Any) -> Any:
        self._nonce = request.nonce
        self._server_nonce = int.from_bytes(os.urandom(16), "little", signed=True)
        return types.ResPQ(self._nonce, self._server_nonce, (P * Q).to_bytes(8, "big"), [self._server_key.fingerprint])

    def _server_dh_params(self, request: Any, server_time: int) -> Any:
        if request.public_key_fingerprint != self._server_key.fingerprint:
            raise ProtocolError("unknown RSA key")
        inner = self._inner_data(self._server_key.decrypt(request.encrypted_data))
        if not isinstance(inner, (types.PQInnerData, types.PQInnerDataDc)):
            raise ProtocolError("not p_q_inner_data")
        if (inner.nonce, inner.server_nonce) != (self._nonce, self._server_nonce):
            raise ProtocolError("wrong nonce inside the RSA block")
        if (int.from_bytes(inner.p, "big"), int.from_bytes(inner.q, "big")) != (P, Q):
            raise ProtocolError("wrong factors")
        self._new_nonce = inner.new_nonce
        self._aes = self._temporary_aes()
        self._secret = int.from_bytes(os.urandom(256), "big")
        g_a = pow(DH_G, self._secret, DH_PRIME)
        answer = bytes(
            types.ServerDHInnerData(self._nonce, self._server_nonce, DH_G, minimal_bytes(DH_PRIME), g_a.to_bytes(256, "big"), server_time)
        )
        hashed = hashlib.sha1(answer).digest() + answer
        hashed += os.urandom(-len(hashed) % 16)
        return types.ServerDHParamsOk(self._nonce, self._server_nonce, AES.encrypt_ige(hashed, *self._aes))

    @staticmethod
    def _inner_data(block: bytes) -> Any:
        """p_q_inner_data from either padding: with RSA_PAD it stands first, in the older one behind its SHA-1."""
        known = {c.CONSTRUCTOR_ID for c in (types.PQInnerData, types.PQInnerDataDc)}
        if int.from_bytes(block[:4], "little") in known:
            return read_object(block)[0]
        return _behind_sha1(block)

    def _temporary_aes(self) -> tuple[bytes, bytes]:
        new, server = _int_bytes(self._new_nonce, 32), _int_bytes(self._server_nonce, 16)

        def sha1(*parts: bytes) -> bytes:
            return hashlib.sha1(b"".join(parts)).digest()

        return sha1(new, server) + sha1(server, new)[:12], sha1(server, new)[12:] + sha1(new, new) + new[:4]

    def _dh_gen(self, request: Any) -> Any:
        if not self._secret or len(request.encrypted_data) % 16:
            raise ProtocolError("set_client_DH_params before req_DH_params, or of a wrong length")
        plain = AES.decrypt_ige(request.encrypted_data, *self._aes)
        inner = _behind_sha1(plain)
        if (inner.nonce, inner.server_nonce) != (self._nonce, self._server_nonce):
            raise ProtocolError("wrong nonce inside the DH block")
        g_b = int.from_bytes(inner.g_b, "big")
        if not 1 << 1984 < g_b < DH_PRIME - (1 << 1984):
            raise ProtocolError("g_b out of range")
        self.key = pow(g_b, self._secret, DH_PRIME).to_bytes(256, "big")
        self._secret = 0
        aux_hash = hashlib.sha1(self.key).digest()[:8]
        proof = hashlib.sha1(_int_bytes(self._new_nonce, 32) + b"\x01" + aux_hash).digest()[4:]
        return types.DhGenOk(self._nonce, self._server_nonce, int.from_bytes(proof, "little", signed=True))
