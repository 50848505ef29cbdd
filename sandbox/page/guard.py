"""Who may talk to the page: this machine, and of its web pages only this one.

The server listens on 127.0.0.1, but any web site that the newcomer has open can send requests there too: by its own name
pointed at 127.0.0.1 (DNS rebinding: the Host header gives it away) or across origins (the Origin header does).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from sandbox.world import WorldError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOCAL_NAMES = {"127.0.0.1", "localhost", "::1"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SENTENCES = {
    "PEER_ID_INVALID": "There is no such account or group.",
    "USER_IS_BLOCKED": "The receiver has blocked the sender.",
    "MESSAGE_EMPTY": "A message needs a text or a file.",
    "MESSAGE_TOO_LONG": "A text may have 4096 characters at most.",
    "MESSAGE_NOT_MODIFIED": "The message already reads so.",
    "BUTTON_DATA_INVALID": "The message has no such button.",
    "QUERY_ID_INVALID": "This tap is older than 60 seconds or already answered.",
}


class BadCall(Exception):
    """A control call that cannot be done. Its text is the sentence that the caller reads."""

    def __init__(self, sentence: str, *, status: int = 400, code: str = "BAD_REQUEST") -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


def refusal(sentence: str, code: str, status: int) -> web.Response:
    return web.json_response({"error": sentence, "code": code}, status=status)


@web.middleware
async def only_this_machine(request: web.Request, handler: Handler) -> web.StreamResponse:
    if _name(f"//{request.host}") not in LOCAL_NAMES:
        return refusal("This server answers to 127.0.0.1 and localhost only.", "HOST_REFUSED", 403)
    origin = request.headers.get("Origin")
    foreign = origin is not None and origin not in (f"http://{request.host}", f"https://{request.host}")
    foreign = foreign or request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
    if foreign and (request.method, request.path) != ("GET", "/"):  # a link from elsewhere may open the page itself
        return refusal("Requests from other web pages are refused.", "ORIGIN_REFUSED", 403)
    if request.method == "POST" and request.content_type != "application/json":
        return refusal("Send JSON, with Content-Type: application/json.", "NOT_JSON", 415)
    return await handler(request)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadCall as error:
        return refusal(str(error), error.code, error.status)
    except WorldError as error:
        return refusal(SENTENCES.get(error.code, f"Telegram would refuse this: {error.code}."), error.code, 400)
    except web.HTTPNotFound:
        return refusal("There is nothing at this address.", "NOT_FOUND", 404)
    except web.HTTPMethodNotAllowed as error:
        return refusal(f"Use {' or '.join(sorted(error.allowed_methods))} here.", "METHOD_NOT_ALLOWED", 405)
    except web.HTTPRequestEntityTooLarge:
        return refusal("The request is larger than this server takes.", "TOO_LARGE", 413)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """An `on_response_prepare` signal: no guessing of types, nothing from elsewhere, never inside a foreign frame."""
    response.headers.setdefault("Content-Security-Policy", POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers.setdefault("Cache-Control", "no-store")


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
