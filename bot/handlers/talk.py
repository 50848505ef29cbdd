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
from bot.incoming import replied_to, to_message
from bot.once import Once
from twin import decisions, replies
from twin.store import cards, prompts

log = structlog.get_logger()
LOST_WITHOUT = {"text_link", "text_mention", "spoiler"}  # https://core.telegram.org/bots/api#messageentity
DRESS = {"bold", "italic", "underline", "strikethrough", "code", "pre", "blockquote", "expandable_blockquote", "custom_emoji"}
AGAIN = "Write it again, a link as its address; the edit stays open, /cancel ends it."
PLAIN_ONLY = "It goes as plain text: I cannot send formatting."
EDIT_MINUTES = 30  # later than this only a reply to the question counts: a forgotten edit must not send what was meant for the twin


async def on_cancel(message: Message, twin: Twin, once: Once) -> None:
    await message.answer(await once.effect(lambda connection: _cancel(connection, twin.settings.bot.expire_hours)))


async def _cancel(connection: AsyncConnection, hours: float) -> str:
    now = utc_now()
    prompt = await prompts.newest_open(connection, now - timedelta(hours=hours))
    closed = await prompts.close(connection, prompt.draft_id, now) if prompt else 0
    return "The draft stays as it was." if closed else "There is nothing to cancel."


async def on_text(message: Message, twin: Twin, once: Once) -> None:
    answer = await once.effect(lambda connection: _take(connection, message, twin.settings.owner.name))
    twin.bells.ring()
    if answer:
        await message.reply(answer)


async def _take(connection: AsyncConnection, message: Message, owner: str) -> str:
    """Take it as the words of an edit or as talk; returns what to tell the owner, if anything."""
    draft_id = await _edited_draft(connection, message)
    if draft_id is None:
        await replies.receive_from_owner(connection, to_message(message), name=owner, now=utc_now())
        return ""
    if message.text is None:
        return "Only text can be sent. The edit stays open; /cancel ends it."
    formatting = {entity.type for entity in message.entities or ()}
    if lost := sorted(formatting & LOST_WITHOUT):
        kinds = ", ".join(lost).replace("_", " ")
        return f"I can send plain text only, and without its formatting ({kinds}) this would say something else. {AGAIN}"
    verdict = await decisions.edit(connection, draft_id, message.text, utc_now())
    log.info("draft.edited", draft_id=draft_id, outcome=verdict.what)
    match verdict.what:
        case "done":
            return PLAIN_ONLY if formatting & DRESS else ""
        case "renewed":
            return "A newer message came while you typed, so this has not gone out. Your words are on the new card."
        case "wordless":
            return "Only text can be sent. The edit stays open; /cancel ends it."
        case _:
            return f"{refusal(verdict)} What you typed was not sent."


async def _edited_draft(connection: AsyncConnection, message: Message) -> int | None:
    """The draft that this text is meant for: it answers a question or a card, or comes next while an edit is open."""
    if message.forward_origin or message.via_bot:
        return None
    if replied := replied_to(message):
        prompt = await prompts.asked_by(connection, replied.message_id)
        draft = await cards.by_card(connection, replied.message_id)
        return prompt.draft_id if prompt else draft.id if draft else None
    prompt = await prompts.newest_open(connection, utc_now() - timedelta(minutes=EDIT_MINUTES))
    return prompt.draft_id if prompt else None


async def on_unknown_command(message: Message) -> None:
    await message.answer("I do not know this command. /help lists what I know.")


def setup() -> Router:
    router = Router(name="talk")
    router.message.register(on_cancel, Command("cancel"), ~F.forward_origin)
    router.message.register(on_unknown_command, F.text.startswith("/"), ~F.forward_origin, lambda message: not replied_to(message))
    router.message.register(on_text)
    return router
