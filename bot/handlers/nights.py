"""The buttons of a result card. Each counts once; the card then says what came of it."""

from __future__ import annotations

import structlog
from aiogram import Bot, Router
from aiogram.types import CallbackQuery, Message
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import run_card
from bot.context import Twin
from bot.once import Once
from bot.run_card import RunTap
from bot.telegram import quietly
from twin.errors import TwinError
from twin.store import adapters, runs
from twin.utf16 import cut

log = structlog.get_logger()
MAX_TOAST = 200  # https://core.telegram.org/bots/api#answercallbackquery
WANTED = {"promote": "waiting", "keep": "waiting", "back": "promoted"}  # the outcome that a button belongs to


async def on_run_tap(callback: CallbackQuery, callback_data: RunTap, bot: Bot, twin: Twin, once: Once) -> None:
    async with twin.store.connect() as connection:
        run = await runs.get(connection, callback_data.run_id)
    if run is None:
        toast = "I do not know this run any more."
    elif run.detail.get("outcome") != WANTED.get(callback_data.action):
        toast = f"Decided already: {run.detail.get('line', '')}"
    else:
        # The proof of an adapter takes its seconds; Telegram wants to hear at once.
        await quietly(callback.answer("Trying it in the engine …" if callback_data.action == "promote" else ""), "tap.unanswered")
        toast = None
        name = str(run.detail["adapter"])
        outcome, line = await _carry_out(twin, callback_data.action, name, run.detail.get("parent"))
        await once.effect(lambda connection: _decide(connection, run.run_id, name, outcome, line))
        log.info("night.decided", action=callback_data.action, run_id=run.run_id, outcome=outcome)
    if toast is not None:
        await quietly(callback.answer(cut(toast, MAX_TOAST), show_alert=True), "tap.unanswered")
    if run and isinstance(callback.message, Message):
        await _show(twin, callback.message, run.run_id)
    elif run and toast is None:  # a card of more than two days comes without its text (InaccessibleMessage)
        await bot.send_message(twin.owner_id, line)


async def _decide(connection: AsyncConnection, run_id: str, name: str, outcome: str, line: str) -> None:
    await runs.decide(connection, run_id, outcome, line)
    if outcome == "kept":
        await adapters.retire(connection, name)


async def _carry_out(twin: Twin, action: str, name: str, parent: str | None) -> tuple[str, str]:
    """Its outcome and a line about it. Done again after a crash it comes to the same."""
    async with twin.store.connect() as connection:
        active = await adapters.active(connection)
    live, now = active.name if active else None, active.name if active else "The base model"
    try:
        match action:
            case "promote" if live not in (parent, name):
                return (
                    "overtaken",
                    f"It was measured against another adapter; {now} is live by now. `twin adapters promote {name}` overrides.",
                )
            case "promote":
                return "promoted", await twin.promote(name)
            case "back" if live != name:
                return "replaced", f"{now} answers by now."
            case "back":
                return "rolled back", await twin.rollback()
            case _:
                return "kept", f"{now} stays, as you said."
    except TwinError as exc:
        return WANTED[action], f"That did not work: {exc}"


async def _show(twin: Twin, message: Message, run_id: str) -> None:
    async with twin.store.connect() as connection:
        run = await runs.get(connection, run_id)
    if run is None:
        return
    text = run_card.caption(run_card.read_result(twin.settings.data / "runs" / run.run_id), run)
    keyboard = run_card.keyboard(run)
    if message.photo:
        words = text.as_kwargs(text_key="caption", entities_key="caption_entities")
        await quietly(message.edit_caption(**words, reply_markup=keyboard), "night.card_kept")
    else:
        await quietly(message.edit_text(**text.as_kwargs(), reply_markup=keyboard), "night.card_kept")


def setup() -> Router:
    router = Router(name="nights")
    router.callback_query.register(on_run_tap, RunTap.filter())
    return router
