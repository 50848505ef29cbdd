"""What vLLM's server lets in: the requests that the twin makes, each with the key, under a name of this machine.

vLLM's own check of the key covers the paths under /v1, /v2, /inference and /cohere and leaves the others open, among them
/invocations and /generative_scoring, which answer as /v1/completions does, and in the pause mode /sleep and /collective_rpc.
`inference.serve` has vLLM put OnlyWithKey around its whole application (`--middleware`). This module runs in the server's
process: it imports what vLLM has anyway.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

KEY = "VLLM_API_KEY"  # in the environment, which other users cannot read as they can a command line
REQUESTS = frozenset(
    {
        ("GET", "/health"),
        ("GET", "/v1/models"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/unload_lora_adapter"),
        ("POST", "/sleep"),
        ("POST", "/wake_up"),
    }
)
HOSTS = ("127.0.0.1", "localhost")  # a web page that has its own name point here (DNS rebinding) sends that name


class OnlyWithKey:
    """ASGI middleware. 400 for another host's name, 401 without the key, 404 for what the twin does not ask for. No WebSocket."""

    def __init__(self, app: ASGIApp) -> None:
        key = os.environ.get(KEY)
        if not key:
            raise ValueError(f"{KEY} is not set, so nobody could be let in.")
        self._app = app
        self._digest = _digest(key)
        self._by_name = TrustedHostMiddleware(self._with_key, HOSTS, www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._by_name(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _with_key(self, scope: Scope, receive: Receive, send: Send) -> None:
        scheme, _, shown = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secrets.compare_digest(_digest(shown), self._digest):
            refusal = JSONResponse({"error": "Unauthorized"}, 401, {"WWW-Authenticate": "Bearer"})
            await refusal(scope, receive, send)
        elif (scope["method"], scope["path"]) not in REQUESTS:
            await JSONResponse({"error": "Not Found"}, 404)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
