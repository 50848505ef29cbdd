"""The buttons of a card, and of the question whether something arrived."""

from __future__ import annotations

import structlog
from aiogram import Bot, F, Router
from aiogram.types import CallbackQuery, Message
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.buttons import DoubtTap, Tap, sure
from bot.context import Twin, utc_now
from bot.edit_question import ask_for_words
from bot.once import Once
from bot.telegram import quietly
from twin import decisions, sending
from twin.decisions import Verdict
from twin.store import cards, drafts
from twin.store.drafts import Draft

log = structlog.get_logger()
TOASTS = {
    "send": "On its way",
    "another": "Writing another …",
    "shorter": "Writing a shorter one …",
    "warmer": "Writing a warmer one …",
    "skip": "Skipped",
    "undo": "It is back",
    "auto": "Answers to this contact would go without your tap. Sure?",
    "trust": "On its way, and by itself from now on",
    "back": "Taking it back",
    "stop": "From now on you decide here",
}


async def on_tap(callback: CallbackQuery, callback_data: Tap, bot: Bot, twin: Twin, once: Once) -> None:
    toast, is_done = await once.effect(lambda connection: _carry_out(connection, callback, callback_data, twin))
    await quietly(callback.answer(toast), "tap.unanswered")
    async with twin.store.connect() as connection:
        draft = await drafts.get(connection, callback_data.draft_id)
    if is_done and draft:
        await _ask(callback, callback_data.action, bot, twin, draft)
    await _retire_double(callback, draft)
    twin.bells.ring()


async def _carry_out(connection: AsyncConnection, callback: CallbackQuery, tap: Tap, twin: Twin) -> tuple[str, bool]:
    """Returns what to tell the owner, and whether it was done."""
    verdict = await _decide(connection, tap, twin)
    if verdict.draft and callback.message and verdict.draft.card_message_id is None:
        # A crash between sending a card and noting its id: this is the one that the owner sees.
        await cards.adopt_card(connection, verdict.draft.id, callback.message.message_id)
    log.info("card.tapped", action=tap.action, draft_id=tap.draft_id, outcome=verdict.what)
    is_done = verdict.what == "done"
    return TOASTS.get(tap.action, "") if is_done else refusal(verdict), is_done


async def _ask(callback: CallbackQuery, action: str, bot: Bot, twin: Twin, draft: Draft) -> None:
    """What needs one more word of the owner: the text of an edit, or whether answers may go by themselves. A card of more than two days
    comes without its text (InaccessibleMessage), but can be changed by its number like any other."""
    if action == "edit":
        await ask_for_words(bot, twin, draft)
    elif action == "auto" and callback.message:
        card = callback.message
        await quietly(
            bot.edit_message_reply_markup(chat_id=card.chat.id, message_id=card.message_id, reply_markup=sure(draft)), "keyboard.kept"
        )


async def on_doubt(callback: CallbackQuery, callback_data: DoubtTap, bot: Bot, twin: Twin, once: Once) -> None:
    tap = callback_data
    settled = await once.effect(
        lambda connection: sending.answer_doubt(
            connection, tap.outbox_id, tap.tried, it_arrived=tap.arrived, settings=twin.settings, now=utc_now()
        )
    )
    log.info("doubt.answered", outbox_id=callback_data.outbox_id, arrived=callback_data.arrived, settled=settled)
    done = "Good." if callback_data.arrived else "On its way again."
    await quietly(callback.answer(done if settled else "That is settled already."), "tap.unanswered")
    if asked := callback.message:
        await quietly(bot.edit_message_reply_markup(chat_id=asked.chat.id, message_id=asked.message_id, reply_markup=None), "keyboard.kept")
    twin.bells.ring()


async def on_unknown_button(callback: CallbackQuery) -> None:
    await quietly(callback.answer("I do not know this button any more."), "tap.unanswered")


def refusal(verdict: Verdict) -> str:
    """Why a decision was not carried out."""
    draft = verdict.draft
    match verdict.what:
        case "unknown":
            return "There is no such draft."
        case "outdated":
            return "The draft has changed. Look at its card again."
        case "wordless":
            return "There are no words to send."
        case "late":
            return "It is too late to take it back here. You can delete it in the chat."
        case "exhausted":
            return "No more variants for this one."
        case "decided" if draft:
            said = {"rejected": "skipped", "approved": "on its way", "edited": "on its way", "sending": "on its way"}
            reason = f" ({draft.reason})" if draft.state == "expired" and draft.reason else ""
            return f"Draft {draft.id} is {said.get(draft.state, draft.state)} already{reason}."
        case _:
            return "Nothing to do."


async def _decide(connection: AsyncConnection, tap: Tap, twin: Twin) -> Verdict:
    now = utc_now()
    match tap.action:
        case "send":
            return await decisions.send(connection, tap.draft_id, now, variant=tap.variant)
        case "edit" | "auto":
            return await decisions.look(connection, tap.draft_id, variant=tap.variant)
        case "another" | "shorter" | "warmer" as wish:
            return await decisions.another(connection, tap.draft_id, twin.settings, now, variant=tap.variant, wish=wish)
        case "skip":
            return await decisions.skip(connection, tap.draft_id, now, variant=tap.variant)
        case "undo":
            return await decisions.undo(connection, tap.draft_id, twin.settings, now)
        case "trust":
            return await decisions.trust(connection, tap.draft_id, twin.settings, now, variant=tap.variant)
        case "no":
            return await decisions.show_card_again(connection, tap.draft_id)
        case "back":
            return await decisions.take_back(connection, tap.draft_id, now)
        case "stop":
            return await decisions.distrust(connection, tap.draft_id, twin.settings, now)
        case _:
            return Verdict("unknown")


async def _retire_double(callback: CallbackQuery, draft: Draft | None) -> None:
    """A crash between sending a card and noting its id can leave a second card: take the buttons off the one that is not kept."""
    message = callback.message
    if isinstance(message, Message) and message.reply_markup and (draft is None or draft.card_message_id not in (None, message.message_id)):
        await quietly(message.edit_reply_markup(reply_markup=None), "keyboard.kept")


def setup() -> Router:
    router = Router(name="taps")
    router.callback_query.register(on_tap, Tap.filter())
    router.callback_query.register(on_doubt, DoubtTap.filter())
    return router


def setup_last() -> Router:
    """For data that no other router knows: forged, or of an older version."""
    router = Router(name="unknown buttons")
    router.callback_query.register(on_unknown_button, F.data)
    return router
