"""What a request handler is, what it may raise, and how requests are unwrapped and answers serialised."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from telethon.tl import TLObject, TLRequest, functions
from telethon.tl.alltlobjects import LAYER
from telethon.tl.core import GzipPacked

from sandbox.world import Account, World, WorldError

if TYPE_CHECKING:
    from sandbox.mtproto.server import MtprotoServer
    from sandbox.mtproto.session import Session

RPC_RESULT = 0xF35C6D01
VECTOR = 0x1CB5C415
TRUE, FALSE = 0x997275B5, 0xBC799737
GZIP_FROM = 512  # bytes; shorter answers gain nothing

# WorldError.code -> (code, text) where MTProto has another word or number than 400 and the code itself.
WORLD_ERRORS = {
    "BUTTON_DATA_INVALID": (400, "DATA_INVALID"),
    "QUERY_ID_INVALID": (400, "QUERY_ID_INVALID"),
}


class RpcError(Exception):
    """An answer that Telegram would give as rpc_error. `text` is Telegram's own upper-case name."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Call:
    """One request on its way: who asks, through which session, and what it was wrapped in."""

    server: MtprotoServer
    session: Session
    name: str  # the request's class name without "Request", as faults name it
    request: Any
    wants_updates: bool
    takeout_id: int | None

    @property
    def world(self) -> World:
        return self.server.world

    @property
    def account(self) -> Account:
        """The account that is signed in. 401 AUTH_KEY_UNREGISTERED if none is."""
        account_id = self.session.key.account_id
        if account_id is None:
            raise RpcError(401, "AUTH_KEY_UNREGISTERED")
        return self.world.account(account_id)


Handler = Callable[[Call, Any], Any | Awaitable[Any]]


@dataclass(frozen=True)
class Serialised:
    """A TL object that is bytes already; stands wherever Telethon's classes expect an object of theirs."""

    data: bytes

    def __bytes__(self) -> bytes:
        return self.data

    def _bytes(self) -> bytes:  # what Telethon's generated code calls on nested objects
        return self.data


def unwrap(server: MtprotoServer, session: Session, request: Any) -> Call:
    """Take off invokeWithLayer, initConnection, invokeWithTakeout and the like, remembering what they say."""
    wants_updates, takeout_id = True, None
    while isinstance(getattr(request, "query", None), TLRequest):
        if isinstance(request, functions.InvokeWithLayerRequest) and request.layer != LAYER:
            raise RpcError(400, "CONNECTION_LAYER_INVALID")
        if isinstance(request, functions.InitConnectionRequest):
            session.key.device = request.device_model
        wants_updates = wants_updates and not isinstance(request, functions.InvokeWithoutUpdatesRequest)
        if isinstance(request, functions.InvokeWithTakeoutRequest):
            takeout_id = request.takeout_id
        request = request.query
    name = type(request).__name__.removesuffix("Request")
    return Call(server, session, name, request, wants_updates, takeout_id)


def from_world(error: WorldError) -> RpcError:
    return RpcError(*WORLD_ERRORS.get(error.code, (400, error.code)))


def serialise(answer: Any) -> bytes:
    """An answer's bytes: an object, a bare bool, or a list (Vector of objects, or of ints as Vector<int>)."""
    if isinstance(answer, bool):
        return struct.pack("<I", TRUE if answer else FALSE)
    if isinstance(answer, list):
        items = (struct.pack("<i", item) if isinstance(item, int) else bytes(item) for item in answer)
        return struct.pack("<Ii", VECTOR, len(answer)) + b"".join(items)
    return bytes(answer)


def result(msg_id: int, body: bytes, *, compress: bool) -> bytes:
    if compress and len(body) > GZIP_FROM:
        body = struct.pack("<I", GzipPacked.CONSTRUCTOR_ID) + TLObject.serialize_bytes(gzip.compress(body, 1))
    return struct.pack("<Iq", RPC_RESULT, msg_id) + body
