"""The story with no hands: a contact writes, the owner taps Send on the card, the contact's own Telegram shows the reply."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from twin.cli.demo.sandbox import Sandbox, wait_for
from twin.cli.demo.setting import as_contact
from twin.errors import TwinError
from twin.settings import Settings
from twin.turns import split_bubbles

OPENING = "hey, what are you up to tonight?"
CARD_SECONDS = 240.0  # the engine loads its model at the first draft
ARRIVAL_SECONDS = 60.0


@dataclass
class Told:
    """What happened. `drafts` are the texts proposed, `approved` the bubbles sent off, `sent` what the contact's Telegram has."""

    drafts: list[str] = field(default_factory=list)
    approved: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return bool(self.approved) and self.sent == self.approved


def greet(sandbox: Sandbox) -> None:
    """The owner opens the chat with the bot: a bot cannot write first."""
    sandbox.send(sandbox.owner_id, sandbox.bot_id, "/start")


def wait_for_greeting(sandbox: Sandbox) -> None:
    def look() -> bool | None:
        return any(m["from"] == sandbox.bot_id for m in sandbox.history(sandbox.owner_id, sandbox.bot_id)) or None

    wait_for(look, seconds=ARRIVAL_SECONDS, what="The bot's greeting")


def tell(sandbox: Sandbox, settings: Settings) -> Told:
    """Play it. Raises TwinError if the card or the reply does not come."""
    contact = sandbox.contact_ids[0]
    asked = sandbox.send(contact, sandbox.bot_id, OPENING)
    told = Told()
    card, send = wait_for(lambda: _card(sandbox, asked["uid"]), seconds=CARD_SECONDS, what="The draft card")
    told.drafts = drafts_of(settings, contact)
    sandbox.press(sandbox.owner_id, card["uid"], send)
    told.approved = split_bubbles(told.drafts[-1])
    phone = sandbox.phone_of(contact)
    told.sent = asyncio.run(_read_as_contact(sandbox, as_contact(settings, phone), phone, told.approved))
    return told


def _card(sandbox: Sandbox, after_uid: int) -> tuple[dict[str, Any], str] | None:
    """The owner's newest card that waits, and the data of its Send button. A draft without words gets another."""
    for message in reversed(sandbox.history(sandbox.owner_id, sandbox.bot_id)):
        if message["uid"] < after_uid or message["from"] != sandbox.bot_id:
            continue
        buttons = {button["text"]: button["callback_data"] for row in message["keyboard"] for button in row}
        if "Send" in buttons:
            return message, buttons["Send"]
        if "Another" in buttons:
            sandbox.press(sandbox.owner_id, message["uid"], buttons["Another"])
    return None


def drafts_of(settings: Settings, dialog_id: int) -> list[str]:
    """Every text proposed for this contact, oldest first."""
    from sqlalchemy import select

    from twin.cli.folder import transact
    from twin.store import tables

    async def work(connection: Any) -> list[str]:
        query = select(tables.drafts.c.text).where(tables.drafts.c.dialog_id == dialog_id).order_by(tables.drafts.c.id)
        return list((await connection.execute(query)).scalars())

    return transact(settings, work)


async def _read_as_contact(sandbox: Sandbox, settings: Settings, phone: str, expected: list[str]) -> list[str]:
    """What the bot has written to the contact, as Telethon reads it in the contact's account. Waits until all is there."""
    from trainer.session import connected, sign_in

    async def ask_code(_: str) -> str:
        return await asyncio.to_thread(sandbox.login_code, phone)

    async def ask_password(_: str) -> str:
        raise TwinError("The contact's account wants a password.")

    await sign_in(settings, ask_code=ask_code, ask_password=ask_password)
    found: list[str] = []
    async with connected(settings) as client:
        bot = None
        deadline = asyncio.get_running_loop().time() + ARRIVAL_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            async for dialog in client.iter_dialogs():
                if dialog.entity.id == sandbox.bot_id:
                    bot = dialog.input_entity
            if bot is not None:
                found = [m.text async for m in client.iter_messages(bot, reverse=True, wait_time=0) if m.sender_id == sandbox.bot_id]
            if len(found) >= len(expected):
                break
            await asyncio.sleep(0.3)
    return found[-len(expected) :] if expected else found
