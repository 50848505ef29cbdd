"""The Bot API door: HTTP in front of the world, as aiogram and python-telegram-bot speak it.

    api = await BotApi(world, faults).start()
    Bot(token, session=AiohttpSession(api=TelegramAPIServer.from_base(api.base_url)))

It imports no Telegram library, so it agrees with none of them by construction. A token is that of a bot account in the world.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import deque
from typing import Any, NamedTuple, Self

from aiohttp import web

from sandbox.botapi import business, media, messages, profile, updates
from sandbox.botapi.door import Described, Door, Method
from sandbox.botapi.errors import ApiError, from_world, too_many_requests
from sandbox.botapi.feed import feed
from sandbox.botapi.limits import RateLimits
from sandbox.botapi.params import Params, read_params
from sandbox.faults import ON_CALLS, Fault, Faults
from sandbox.world import Account, World, WorldError

METHODS: dict[str, tuple[str, Method]] = {  # method names are case-insensitive
    name.lower(): (name, method) for part in (messages, media, business, profile, updates) for name, method in part.METHODS.items()
}
REQUEST_BYTES = 64 * 2**20
CALLS_KEPT = 20_000
UNAUTHORIZED = ApiError(401, "Unauthorized")
NOT_FOUND = ApiError(404, "Not Found")


class Call(NamedTuple):
    """One entry of the call log. It lives in memory only and holds what was sent: a tool for tests."""

    method: str
    params: dict[str, Any]
    at: float  # by the world's clock
    bot_id: int


class BotApi:
    def __init__(
        self, world: World, faults: Faults | None = None, *, limits: RateLimits | None = None, webhook_retry_seconds: float = 1.0
    ) -> None:
        self.door = Door(world, faults or Faults(), self._perform, limits, webhook_retry_seconds)
        self.calls: deque[Call] = deque(maxlen=CALLS_KEPT)
        self.base_url = ""
        self._unsubscribe = world.subscribe(lambda event: feed(self.door, event))
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    # --- serving ---

    def routes(self) -> list[web.RouteDef]:
        """For an application of somebody else's; call `close` at its end. `client_max_size` has to allow uploads."""
        return [
            web.route("*", r"/bot{token:[^/]+}/{method}", self._handle),
            web.get(r"/file/bot{token:[^/]+}/{path:.+}", self._download),
        ]

    async def start(self, port: int = 0) -> Self:
        """Serve on 127.0.0.1; port 0 takes a free one. `base_url` is known afterwards."""
        app = web.Application(client_max_size=REQUEST_BYTES)
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        host, taken = self._runner.addresses[0][:2]
        self.base_url = f"http://{host}:{taken}"
        return self

    async def stop(self) -> None:
        self.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def close(self) -> None:
        """Stop listening to the world, delivering webhooks and keeping callers waiting."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._unsubscribe()
            for webhook in self.door.webhooks.values():
                webhook.stop()

    # --- for tests ---

    def push_update(self, bot_id: int, kind: str, payload: dict[str, Any]) -> int | None:
        """Hand a bot an update that the world never had: a forged press, a kind unknown to the client."""
        return self.door.inbox(bot_id).push(kind, payload)

    def calls_of(self, method: str) -> list[dict[str, Any]]:
        return [call.params for call in self.calls if call.method == method]

    # --- requests ---

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        bot = self.door.world.bot(request.match_info["token"])
        if bot is None:
            return _answer(UNAUTHORIZED)
        known = METHODS.get(request.match_info["method"].lower())
        if known is None:
            return _answer(NOT_FOUND)
        name, method = known
        try:
            params = await read_params(request)
        except ApiError as error:
            return _answer(error)
        self._log(name, bot, params)
        fault = self.door.faults.take(name, actions=ON_CALLS)
        if fault is None:
            return await self._run(bot, method, params)
        return await self._disturbed(fault, request, bot, method, params)

    async def _disturbed(self, fault: Fault, request: web.Request, bot: Account, method: Method, params: Params) -> web.Response:
        match fault.action:
            case "flood":
                return _answer(too_many_requests(int(fault.arg)))
            case "error":
                code, text = fault.arg
                return _answer(ApiError(int(code), str(text)))
            case "drop_before":
                return _cut(request)
            case "delay":
                await asyncio.sleep(float(fault.arg))
        response = await self._run(bot, method, params)
        if fault.action == "drop_after":
            return _cut(request)
        if fault.action == "no_reply":
            await self._stopping.wait()  # the client gives up long before
            return _cut(request)
        return response

    async def _run(self, bot: Account, method: Method, params: Params) -> web.Response:
        try:
            return _answer(await self._result(bot, method, params))
        except ApiError as error:
            return _answer(error)

    async def _result(self, bot: Account, method: Method, params: Params) -> Any:
        try:
            result = method(self.door, bot, params)
            return await result if inspect.isawaitable(result) else result
        except WorldError as error:
            raise from_world(error) from error

    async def _perform(self, bot: Account, name: str, params: Params) -> None:
        """Run the call that came as a webhook's response. "It's not possible to know that such a request was successful"."""
        known = METHODS.get(name.lower())
        if known is None:
            return
        self._log(known[0], bot, params)
        try:
            await self._result(bot, known[1], params)
        except ApiError:
            return

    def _log(self, name: str, bot: Account, params: Params) -> None:
        self.calls.append(Call(name, params.readable(), self.door.world.clock(), bot.id))

    async def _download(self, request: web.Request) -> web.StreamResponse:
        if self.door.world.bot(request.match_info["token"]) is None:
            return _answer(UNAUTHORIZED)
        found = self.door.files.at(request.match_info["path"])
        if found is None:
            return _answer(NOT_FOUND)
        return web.Response(body=found.content, content_type="application/octet-stream")


def _cut(request: web.Request) -> web.Response:
    """Reset the connection; a polite close would hide bugs."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _answer(result: Any) -> web.Response:
    headers = {}
    status = 200
    if isinstance(result, ApiError):
        status, body = result.code, result.body()
        if "retry_after" in result.parameters:
            headers["Retry-After"] = str(result.parameters["retry_after"])
    elif isinstance(result, Described):
        body = {"ok": True, "result": result.result, "description": result.description}
    else:
        body = {"ok": True, "result": result}
    return web.Response(text=json.dumps(body), status=status, headers=headers, content_type="application/json")
