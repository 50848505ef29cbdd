"""The page's HTTP server: static files, the control API, the event stream. 127.0.0.1 only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from sandbox.faults import Faults
from sandbox.page.control import Control, LoginCode
from sandbox.page.guard import add_headers, errors_as_json, only_this_machine
from sandbox.page.reads import ReadMarks
from sandbox.page.stream import EventStream
from sandbox.world import Event, World

LARGEST_REQUEST = 32 * 1024 * 1024  # a 20 MB file (what bots can fetch) as base64, and some
STATIC = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class PageServer:
    """The third door. `login_code` tells the sign-in code that the MTProto door last sent to a phone number."""

    def __init__(self, world: World, faults: Faults, owner_id: int, *, login_code: LoginCode = lambda phone: None) -> None:
        self._world = world
        self._stream = EventStream(world)
        self._reads = ReadMarks(world)
        control = Control(world, faults, owner_id, reads=self._reads, stream=self._stream, login_code=login_code)
        self._app = web.Application(client_max_size=LARGEST_REQUEST, middlewares=[errors_as_json, only_this_machine])
        self._app.add_routes([*control.routes(), web.get("/", _file), web.get("/{name}", _file)])
        self._app.on_response_prepare.append(add_headers)
        self._runner: web.AppRunner | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self.base_url = ""

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1; port 0 takes a free one. `base_url` is known afterwards. OSError if the port is taken."""
        runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._unsubscribe = self._world.subscribe(self._hear)
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._stream.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _hear(self, event: Event) -> None:
        self._reads.hear(event)
        self._stream.hear(event)


async def _file(request: web.Request) -> web.FileResponse:
    """A file of the page, by its bare name. Python files lie beside them and stay here."""
    path = Path(__file__).parent / request.match_info.get("name", "index.html")
    if path.suffix not in STATIC or path.parent != Path(__file__).parent or not path.is_file():
        raise web.HTTPNotFound
    return web.FileResponse(path, headers={"Content-Type": f"{STATIC[path.suffix]}; charset=utf-8", "Cache-Control": "no-cache"})
