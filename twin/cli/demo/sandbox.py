"""The sandbox as a child process, known by its sockets only, and its control API."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from twin.cli import children
from twin.cli.children import Child
from twin.errors import TwinError

Found = TypeVar("Found")

READY_SECONDS = 90.0
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox: where its doors are and who is in it."""

    child: Child
    page: str
    bot_api: str
    bot_id: int
    bot_token: str
    server: str  # HOST:PORT of the MTProto door
    public_key: str
    owner_id: int
    owner_phone: str
    contact_ids: tuple[int, ...]

    def login_code(self, phone: str) -> str:
        """The code that the sandbox has just sent to this number."""
        return str(self.get("/api/login_code", phone=phone)["code"])

    def phone_of(self, account_id: int) -> str:
        return str(next(account["phone"] for account in self.get("/api/world")["accounts"] if account["id"] == account_id))

    def history(self, account_id: int, other_id: int) -> list[dict[str, Any]]:
        """The newest messages of a chat, oldest first."""
        return list(self.get(f"/api/chats/{account_id}/{other_id}")["messages"])

    def send(self, sender_id: int, receiver_id: int, text: str) -> dict[str, Any]:
        return dict(self.post("/api/send", {"from": sender_id, "to": receiver_id, "text": text})["message"])

    def press(self, account_id: int, uid: int, data: str) -> None:
        self.post("/api/press", {"account": account_id, "message": uid, "data": data})

    def get(self, path: str, **query: str) -> Any:
        return self._answer(httpx.get(self.page + path, params=query, timeout=30, trust_env=False))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._answer(httpx.post(self.page + path, json=body, timeout=30, trust_env=False))

    def _answer(self, response: httpx.Response) -> Any:
        if response.status_code != httpx.codes.OK:
            raise TwinError(f"The sandbox refused {response.request.method} {response.request.url.path} ({response.status_code}).")
        return response.json()


def start(owner: int, *, world: str, folder: Path, port: int, ended_at: int | None = None) -> Sandbox:
    """Start it and wait until its doors are open. `ended_at`: unix time of the last message, where the world does not fix it."""
    ready_file = folder / "sandbox.json"
    ready_file.unlink(missing_ok=True)
    log = folder / "logs" / "sandbox.log"
    rank = ["--owner", owner] if world == "chitchat" else []
    end = [] if ended_at is None else ["--ended-at", ended_at]
    command = children.python("sandbox", "--world", world, *rank, *end, "--port-page", port, "--ready-file", ready_file, "--with-parent")
    child = children.start(command, log=log)
    try:
        found = children.wait_until_ready(child, ready_file, seconds=READY_SECONDS, name="The sandbox", log=log)
    except BaseException:
        children.stop(child)
        raise
    return Sandbox(
        child=child,
        page=found["page"],
        bot_api=found["bot_api"],
        bot_id=found["bot_id"],
        bot_token=found["bot_token"],
        server=f"{found['mtproto']['host']}:{found['mtproto']['port']}",
        public_key=found["mtproto"]["public_key_pem"],
        owner_id=found["owner_id"],
        owner_phone=found["owner_phone"],
        contact_ids=tuple(found["contact_ids"]),
    )


def wait_for(look: Callable[[], Found | None], *, seconds: float, what: str) -> Found:
    """Ask again and again until there is something. Raises TwinError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        time.sleep(POLL_SECONDS)
    raise TwinError(f"{what} did not come within {seconds:g} seconds.", mend="The logs folder of the demo says how far it came.")
