"""The bot with the owner's live session: the sandbox's Bot API and MTProto server in one world, real aiogram and real Telethon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot_scene import ADA, BEN, BOT, EVE, OWNER, TOKEN, Engine, Scene, until

from bot.context import utc_now
from sandbox.botapi import BotApi
from sandbox.faults import Faults
from sandbox.mtproto import MtprotoServer
from sandbox.world import Account, Message, World
from trainer.session import session_path
from twin import sealing
from twin.cli.account import KeptAccounts
from twin.settings import Settings, load_settings
from twin.store import drafts, facts, open_store, outbox
from twin.store.outbox import Bubble

KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="  # base64 of 0123456789abcdef, twice


@dataclass
class LiveScene(Scene):
    server: MtprotoServer = None  # type: ignore[assignment]

    # --- the owner's own chats ---

    def contact_writes(self, text: str, *, sender: int = ADA, **more: Any) -> Message:
        return self.world.send(sender, OWNER, text, **more)

    def owner_writes(self, text: str, *, to: int = ADA) -> Message:
        """By hand, on the owner's phone."""
        return self.world.send(OWNER, to, text)

    def received_by(self, contact: int = ADA) -> list[str]:
        """What the owner's account has written to this contact, by whatever hand."""
        return [m.text for m in self.world.history(OWNER, contact) if m.sender_id == OWNER]

    def asked(self, name: str) -> int:
        """How many requests of this name reached the MTProto server."""
        return sum(call.name == name for call in self.server.calls)

    async def connected(self) -> None:
        """The live session has caught up."""
        await until(self.is_current)

    async def is_current(self) -> bool:
        async with self.store.connect() as connection:
            state = await facts.get(connection, "live state")
        return bool(state) and state["pts"] == self.server.updates.pts(OWNER)

    async def current(self) -> None:
        """All that happened in the owner's account until now is in the store."""
        await until(self.is_current)

    async def tried_by_business(self, text: str, contact: int = ADA) -> Bubble:
        """A bubble of the newest draft of this chat, in the state in which nobody knows whether a connection's send arrived."""
        async with self.store.begin() as connection:
            draft = await drafts.newest(connection, "account", contact)
            assert draft
            await outbox.add(connection, draft, [text])
            (bubble,) = await outbox.of_draft(connection, draft.id)
            await outbox.move(connection, bubble, "unheard", way="business", tried_at=utc_now())
            found = await outbox.get(connection, bubble.id)
        assert found
        return found

    async def words(self, dialog_id: int = ADA) -> list[tuple[str, bool, str]]:
        """(text, whether the owner's side sent it, source) of the stored messages of a chat of the owner's, by id."""
        rows = [r for r in await self.rows("messages") if r["channel"] == "account" and r["dialog_id"] == dialog_id]
        return [(r["text"], r["out"], r["source"]) for r in sorted(rows, key=lambda r: r["message_id"]) if r["deleted_at"] is None]


@asynccontextmanager
async def live(path: Path, *, started: bool = True, call_seconds: float = 10.0, **bot: Any) -> AsyncIterator[LiveScene]:
    """Fails if the MTProto server met a bug of its own or a method that it does not offer."""
    world = World()
    for account in (
        Account(OWNER, "Olga", "Owner", username="olga", phone="+10000000001"),
        Account(ADA, "Ada", "Lovelace", username="ada"),
        Account(BEN, "Ben", username="ben"),
        Account(EVE, "Eve"),
        Account(BOT, "Twin", username="twin_bot", is_bot=True, token=TOKEN),
    ):
        world.add_account(account)
    world.send(OWNER, BOT, "/start", silent=True)
    faults = Faults()
    api = await BotApi(world, faults).start()
    server = MtprotoServer(world, faults)
    await server.start()
    pem = path / "server.pem"
    pem.write_text(server.public_key_pem)
    settings = live_settings(path, api.base_url, f"127.0.0.1:{server.port}", pem, call_seconds, **bot)
    keep_session(settings, server)
    store = open_store(settings.store_path)
    scene = LiveScene(world, faults, api, store, settings, Engine(), accounts=KeptAccounts(store, settings), server=server)
    try:
        if started:
            await scene.start()
            await scene.connected()
        yield scene
    finally:
        await scene.stop()
        await store.dispose()
        await api.stop()
        await server.stop()
    assert server.errors == []
    assert server.unhandled == []


def live_settings(path: Path, api_url: str, server: str, pem: Path, call_seconds: float, **bot: Any) -> Settings:
    telegram = {"server": server, "server_key": pem, "call_seconds": call_seconds, "live": True}
    values = {"token": TOKEN, "api_url": api_url, "burst_seconds": 0.05, "bubble_seconds": 0.02, **bot}
    owner = {"id": OWNER, "name": "Olga"}
    return load_settings(None, data=path / "data", secret_key=KEY, telegram=telegram, owner=owner, bot=values)


def keep_session(settings: Settings, server: MtprotoServer, account_id: int = OWNER) -> None:
    """What signing in leaves behind."""
    string = server.session_string(account_id)
    sealing.write_private(session_path(settings), sealing.seal(string.encode(), settings.secret_key))
