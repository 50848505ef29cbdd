"""The server: accepts connections, keeps auth keys, answers requests with faults applied, and records what went wrong."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import time
from collections import deque
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Literal

from telethon.crypto import AuthKey as TelethonAuthKey
from telethon.sessions import StringSession
from telethon.tl import types

from sandbox.faults import ON_CALLS, Action, Faults
from sandbox.mtproto import keyring
from sandbox.mtproto.auth import Logins
from sandbox.mtproto.connection import Connection
from sandbox.mtproto.crypto.keys import ServerKey
from sandbox.mtproto.files import Uploads
from sandbox.mtproto.methods import METHODS, PUBLIC
from sandbox.mtproto.render import Renderer
from sandbox.mtproto.rpc import Call, RpcError, from_world, result, serialise, unwrap
from sandbox.mtproto.session import DC_ID, AuthKey, Session
from sandbox.mtproto.updates import Updates
from sandbox.mtproto.views import Views
from sandbox.world import World, WorldError

log = logging.getLogger(__name__)
HOST = "127.0.0.1"
CALLS_KEPT = 20_000
INTERNAL = types.RpcError(500, "INTERNAL")


class MtprotoServer:
    """MTProto 2.0 on loopback. A client has to trust `public_key_pem` and to know `port`; nothing else is special about it.

    `keys_file` keeps auth keys over a restart. `duplicate_random_id` chooses between the two answers that Telegram gives to a
    repeated random_id. `difference_slice` is how many events one updates.getDifference carries; to whom more than `difference_most`
    are missing, it says no more than that they are too many.

    For tests: `calls` (what was asked, newest last), `unhandled` (names of methods that are not offered), `errors` (exceptions
    of ours; the client got 500 INTERNAL), `clock_skew` (seconds that the server's clock is ahead).
    """

    def __init__(
        self,
        world: World,
        faults: Faults,
        *,
        keys_file: Path | None = None,
        login_code: str = "12345",
        duplicate_random_id: Literal["answer", "error"] = "answer",
        difference_slice: int = 100,
        difference_most: int | None = None,
        compress: bool = True,
    ) -> None:
        self.world, self.faults = world, faults
        self.duplicate_random_id = duplicate_random_id
        self.difference_slice = difference_slice
        self.difference_most = difference_most
        self.compress = compress
        self.rsa_key = ServerKey()
        self.salt = int.from_bytes(os.urandom(8), "little", signed=True)
        self.clock_skew = 0.0
        self.sessions: dict[tuple[int, int], Session] = {}
        self.calls: deque[Call] = deque(maxlen=CALLS_KEPT)
        self.unhandled: list[str] = []
        self.errors: list[BaseException] = []
        self.logins = Logins(world, login_code)
        self.uploads = Uploads()
        self.renderer = Renderer(world)
        self.views = Views(world)
        self.updates = Updates(self)
        self._keys_file = keys_file
        self.auth_keys: dict[int, AuthKey] = keyring.load(keys_file) if keys_file else {}
        self._last_msg_id = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self.port = 0

    # --- running ---

    @property
    def public_key_pem(self) -> str:
        """PKCS#1 PEM for `telethon.crypto.rsa.add_key(pem, old=False)`."""
        return self.rsa_key.public_pem

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1; 0 takes a free port, `self.port` tells which."""
        self._listener = await asyncio.start_server(self._accept, HOST, port, limit=1 << 24)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and reset every connection, as a crash does. `start` may follow; keys and state are kept."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        self.drop_connections()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        self._connections.add(connection)
        self.spawn(connection.serve()).add_done_callback(lambda _: self._connections.discard(connection))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` aside. An exception that it does not handle is a bug of ours and lands in `errors`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("mtproto.failed: %s", type(error).__name__)
            self.errors.append(error)

    # --- clocks and ids ---

    def now(self) -> int:
        """The protocol's clock. Message dates come from the world's."""
        return int(time.time() + self.clock_skew)

    def next_msg_id(self, *, answer: bool) -> int:
        """Strictly rising over the whole server, which is more than each session needs."""
        low = 1 if answer else 3
        msg_id = int((time.time() + self.clock_skew) * 2**32) & ~3 | low
        if msg_id <= self._last_msg_id:
            msg_id = (self._last_msg_id & ~3) + 4 | low
        self._last_msg_id = msg_id
        return msg_id

    # --- keys and accounts ---

    def add_key(self, data: bytes, account_id: int | None = None) -> AuthKey:
        key = AuthKey(data, account_id)
        self.auth_keys[key.id] = key
        self.save_keys()
        return key

    def save_keys(self) -> None:
        if self._keys_file:
            keyring.save(self._keys_file, self.auth_keys.values())

    def login_code(self, phone: str) -> str:
        """The code that signs the account with this phone number in."""
        return self.logins.code(phone)

    def session_string(self, account_id: int) -> str:
        """A Telethon StringSession that is signed in already; the server has to be started."""
        self.world.account(account_id)
        session = StringSession()
        session.set_dc(DC_ID, HOST, self.port)
        session.auth_key = TelethonAuthKey(self.add_key(os.urandom(256), account_id).data)
        return str(session.save())

    def revoke(self, account_id: int) -> None:
        """End all sessions of an account, as "Terminate" in an official app does: the next call gets 401."""
        for key in self.auth_keys.values():
            if key.account_id == account_id:
                key.account_id = None
        self.save_keys()

    def forget_keys(self) -> None:
        """Lose every auth key: clients get the transport error -404."""
        self.auth_keys.clear()
        self.save_keys()
        self.drop_connections()

    def drop_connections(self) -> None:
        for connection in list(self._connections):
            connection.abort()

    # --- answering ---

    def refuse_unknown(self, session: Session, msg_id: int, constructor: str) -> None:
        """A request that this layer does not know at all."""
        self.unhandled.append(constructor)
        self._reply(session, msg_id, types.RpcError(400, f"INPUT_METHOD_INVALID_{constructor}"))

    def serve(self, session: Session, msg_id: int, request: Any) -> None:
        """Answer a request in a task of its own. If a handler fails on a bug of ours, the client hears 500 INTERNAL."""
        self.spawn(self._answer(session, msg_id, request)).add_done_callback(
            lambda task: self._reply(session, msg_id, INTERNAL) if not task.cancelled() and task.exception() else None
        )

    async def _answer(self, session: Session, msg_id: int, request: Any) -> None:
        """One request from unwrapping to its answer, with the fault that hits it."""
        try:
            call = unwrap(self, session, request)
        except RpcError as error:
            self._reply(session, msg_id, types.RpcError(error.code, error.text))
            return
        session.wants_updates = call.wants_updates
        self.calls.append(call)
        fault = self.faults.take(call.name, actions=ON_CALLS)
        action: Action | None = fault.action if fault else None
        arg: Any = fault.arg if fault else None
        if action == "drop_before":
            session.connection.abort()
            return
        if action == "delay":
            await asyncio.sleep(arg)
        answer: Any
        if action == "flood":
            answer = types.RpcError(420, f"FLOOD_WAIT_{arg}")
        elif action == "error":
            answer = types.RpcError(*arg)
        else:
            answer = await self._act(call)
        if action == "drop_after":
            session.connection.abort()
        elif action != "no_reply":
            self._reply(session, msg_id, answer)

    async def _act(self, call: Call) -> Any:
        """The handler's answer, or the rpc_error that stands for what it refused."""
        handler = METHODS.get(type(call.request))
        if handler is None:
            self.unhandled.append(call.name)
            return types.RpcError(400, "METHOD_INVALID")
        try:
            if type(call.request) not in PUBLIC:
                _ = call.account  # raises 401 where nobody is signed in
            if call.takeout_id is not None and call.takeout_id != call.session.key.takeout_id:
                raise RpcError(400, "TAKEOUT_INVALID")
            answer = handler(call, call.request)
            return await answer if inspect.isawaitable(answer) else answer
        except WorldError as error:
            refusal = from_world(error)
        except RpcError as error:
            refusal = error
        return types.RpcError(refusal.code, refusal.text)

    def _reply(self, session: Session, msg_id: int, answer: Any) -> None:
        session.send(result(msg_id, serialise(answer), compress=self.compress), answer=True)
