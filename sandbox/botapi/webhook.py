"""Webhooks: each update is posted until the other side takes it, in order.

The sandbox delivers to loopback only and, like a local Bot API server, over plain HTTP too.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aiohttp import BodyPartReader, ClientError, ClientResponse, ClientSession, ClientTimeout, MultipartReader

from sandbox.botapi.errors import bad_request
from sandbox.botapi.inbox import Inbox, Update
from sandbox.botapi.params import Params, read_part

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TIMEOUT_SECONDS = 60.0
MAX_PAUSE_SECONDS = 60.0

Answer = Callable[[str, Params], Awaitable[None]]  # runs the method that a webhook's response may carry


@dataclass
class Webhook:
    url: str
    secret_token: str = ""
    max_connections: int = 40
    last_error: tuple[int, str] | None = None  # unix seconds, message
    courier: asyncio.Task[None] | None = field(default=None, repr=False)

    def stop(self) -> None:
        if self.courier is not None:
            self.courier.cancel()


def check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
    if parts.hostname not in LOOPBACK:
        raise bad_request("bad webhook: the sandbox delivers to loopback only")
    return url


async def deliver(webhook: Webhook, inbox: Inbox, answer: Answer, *, clock: Callable[[], float], retry_seconds: float) -> None:
    """Post the inbox's updates one after the other, for ever. A refused one is tried again after a growing pause."""
    async with ClientSession(timeout=ClientTimeout(total=TIMEOUT_SECONDS)) as session:
        while True:
            if not len(inbox):
                await inbox.wait()
                continue
            updates = inbox.batch(2)  # two, so that the fault "reorder" has something to swap
            for update in updates:
                pause = retry_seconds
                while (error := await _post(session, webhook, update, answer)) is not None:
                    webhook.last_error = (int(clock()), error)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, MAX_PAUSE_SECONDS)
            inbox.confirm(max(update["update_id"] for update in updates) + 1)


async def _post(session: ClientSession, webhook: Webhook, update: Update, answer: Answer) -> str | None:
    """None if the update was taken, else what to report as last_error_message."""
    headers = {"X-Telegram-Bot-Api-Secret-Token": webhook.secret_token} if webhook.secret_token else {}
    try:
        async with session.post(webhook.url, json=update, headers=headers) as response:
            if not 200 <= response.status < 300:
                return f"Wrong response from the webhook: {response.status} {response.reason}"
            values = await _response_values(response)
    except TimeoutError:
        return "Read timeout expired"
    except (ClientError, OSError) as error:
        return f"Connection failed: {type(error).__name__}"
    method = values.pop("method", None)
    if isinstance(method, str):
        await answer(method, Params(values))
    return None


async def _response_values(response: ClientResponse) -> dict[str, Any]:
    """A method call in the response's body, as JSON or multipart; empty if there is none."""
    if response.content_type.startswith("multipart/"):
        values: dict[str, Any] = {}
        async for part in MultipartReader.from_response(response):
            if isinstance(part, BodyPartReader) and part.name is not None:
                values[part.name] = await read_part(part)
        return values
    body = await response.read()
    if response.content_type != "application/json":
        return {}
    try:
        parsed = json.loads(body or b"{}")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
