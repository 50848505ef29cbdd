"""Server-sent events: everything that happens in the world, numbered, with a short memory for reconnecting listeners."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque

from aiohttp import web

from sandbox.page.wire import event_json
from sandbox.world import Event, World

REMEMBERED = 2_000  # events that a listener may miss and still catch up with
BEHIND_AT_MOST = 5_000  # events that wait for a slow listener before it is cut off and has to start over
BEAT_SECONDS = 15.0


class EventStream:
    """`seq` counts events, `position` names the newest one of this run. `Last-Event-ID` or `?after=` (a position) resumes after
    that event; where that cannot be done `{"type": "reset"}` says that the listener has to look at everything anew."""

    def __init__(self, world: World) -> None:
        self.seq = 0
        self._run = secrets.token_hex(4)  # positions of an earlier server mean nothing here
        self._world = world
        self._recent: deque[tuple[int, str]] = deque(maxlen=REMEMBERED)
        self._queues: set[asyncio.Queue[str | None]] = set()

    def hear(self, event: Event) -> None:
        self.seq += 1
        text = json.dumps({"seq": self.seq, **event_json(event, self._world)}, ensure_ascii=False)
        chunk = f"id: {self.position}\ndata: {text}\n\n"
        self._recent.append((self.seq, chunk))
        for queue in list(self._queues):
            if queue.qsize() >= BEHIND_AT_MOST:
                self._queues.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(chunk)

    @property
    def position(self) -> str:
        return f"{self._run}.{self.seq}"

    def close(self) -> None:
        """End every stream, so that the server can stop at once."""
        for queue in self._queues:
            queue.put_nowait(None)
        self._queues.clear()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        for missed in self._catch_up(request):
            queue.put_nowait(missed)
        self._queues.add(queue)
        try:
            await response.prepare(request)
            while True:
                chunk: str | None
                try:
                    chunk = await asyncio.wait_for(queue.get(), BEAT_SECONDS)
                except TimeoutError:
                    chunk = ": still here\n\n"
                if chunk is None:
                    return response
                await response.write(chunk.encode())
        except ConnectionResetError:  # the listener has gone
            return response
        finally:
            self._queues.discard(queue)

    def _catch_up(self, request: web.Request) -> list[str]:
        after = request.headers.get("Last-Event-ID") or request.query.get("after")
        if after is None:
            return [": listening\n\n"]
        run, _, seq = after.partition(".")
        missed = self.seq - int(seq) if run == self._run and seq.isdecimal() else -1
        if not 0 <= missed <= len(self._recent):
            return [f"id: {self.position}\ndata: {json.dumps({'seq': self.seq, 'type': 'reset'})}\n\n"]
        return [": listening\n\n", *(chunk for number, chunk in self._recent if number > int(seq))]
