"""The owner's plain text: the words of an edit, or talk with the twin."""

from __future__ import annotations

from datetime import timedelta

import structlog
from aiogram import F, Router
from aiogram.filters import Command
from aiogram.types import Message
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.context import Twin, utc_now
from bot.handlers.taps import refusal
from bot.incoming import to_message
from twin import decisions, replies
from twin.decisions import Verdict
from twin.store import cards, prompts

log = structlog.get_logger()
EDIT_MINUTES = 30  # later than this only a reply to the question counts: a forgotten edit must not send what was meant for the twin


async def on_cancel(message: Message, twin: Twin) -> None:
    now = utc_now()
    async with twin.store.begin() as connection:
        prompt = await prompts.newest_open(connection, now - timedelta(hours=twin.settings.bot.expire_hours))
        closed = await prompts.close(connection, prompt.draft_id, now) if prompt else 0
    await message.answer("The draft stays as it was." if closed else "There is nothing to cancel.")


async def on_text(message: Message, twin: Twin) -> None:
    async with twin.store.begin() as connection:
        if await prompts.answered_by(connection, message.message_id):
            return  # handled before a crash
        draft_id = await _edited_draft(connection, message)
        if draft_id is None:
            own = to_message(message)
            await replies.receive_from_owner(connection, own, name=twin.settings.owner.name, now=utc_now())
            verdict = None
        elif message.text is None:
            verdict = Verdict("wordless")
        else:
            verdict = await decisions.edit(connection, draft_id, message.text, message.message_id, utc_now())
    twin.bells.ring()
    if verdict:
        log.info("draft.edited", draft_id=draft_id, outcome=verdict.what)
    if verdict and verdict.what == "renewed":
        await message.reply("A newer message came while you typed, so this has not gone out. Your words are on the new card.")
    elif verdict and verdict.what == "wordless":
        await message.reply("Only text can be sent. The edit stays open; /cancel ends it.")
    elif verdict and verdict.what != "done":
        await message.reply(f"{refusal(verdict)} What you typed was not sent.")


async def _edited_draft(connection: AsyncConnection, message: Message) -> int | None:
    """The draft that this text is meant for: it answers a question or a card, or comes next while an edit is open."""
    if message.forward_origin or message.via_bot:
        return None
    if message.reply_to_message:
        replied = message.reply_to_message.message_id
        prompt = await prompts.asked_by(connection, replied)
        draft = await cards.by_card(connection, replied)
        return prompt.draft_id if prompt else draft.id if draft else None
    prompt = await prompts.newest_open(connection, utc_now() - timedelta(minutes=EDIT_MINUTES))
    return prompt.draft_id if prompt else None


async def on_unknown_command(message: Message) -> None:
    await message.answer("I do not know this command. /help lists what I know.")


def setup() -> Router:
    router = Router(name="talk")
    router.message.register(on_cancel, Command("cancel"), ~F.forward_origin)
    router.message.register(on_unknown_command, F.text.startswith("/"), ~F.forward_origin, ~F.reply_to_message)
    router.message.register(on_text)
    return router
