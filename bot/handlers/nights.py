"""The buttons of a result card."""

from __future__ import annotations

import structlog
from aiogram import Router
from aiogram.types import CallbackQuery, Message

from bot import run_card
from bot.context import Twin
from bot.run_card import RunTap
from bot.telegram import quietly
from twin.errors import TwinError
from twin.store import adapters, runs

log = structlog.get_logger()


async def on_run_tap(callback: CallbackQuery, callback_data: RunTap, twin: Twin) -> None:
    toast, alert = await _decide(twin, callback_data)
    log.info("night.tapped", action=callback_data.action, run_id=callback_data.run_id)
    await quietly(callback.answer(toast, show_alert=alert), "tap.unanswered")
    async with twin.store.connect() as connection:
        run = await runs.get(connection, callback_data.run_id)
    if run is None or not isinstance(callback.message, Message):
        return
    result = run_card.read_result(twin.settings.data / "runs" / run.run_id)
    if result:
        text = run_card.caption(result, run).as_kwargs(text_key="caption", entities_key="caption_entities")
        await quietly(callback.message.edit_caption(**text, reply_markup=run_card.keyboard(run)), "night.card_kept")


async def _decide(twin: Twin, tap: RunTap) -> tuple[str, bool]:
    """Carry it out, at most once; what to say, and whether it must be seen."""
    async with twin.store.connect() as connection:
        run = await runs.get(connection, tap.run_id)
        active = await adapters.active(connection)
    outcome = run.detail.get("outcome") if run else None
    if run is None or (tap.action, outcome) not in (("promote", "waiting"), ("keep", "waiting"), ("back", "promoted")):
        return "That was decided already.", False
    name = str(run.detail["adapter"])
    try:
        if tap.action == "promote":
            line = await twin.promote(name)
            decided = "promoted"
        elif tap.action == "keep":
            line, decided = f"{active.name if active else 'The base model'} stays, as you said.", "kept"
        elif active is None or active.name != name:
            return f"{active.name if active else 'The base model'} answers by now; /rollback goes back from there.", True
        else:
            line, decided = await twin.rollback(), "rolled back"
    except TwinError as exc:
        return str(exc)[:190], True
    async with twin.store.begin() as connection:
        await runs.decide(connection, tap.run_id, decided, line)
        if decided == "kept":
            await adapters.retire(connection, name)
    return line[:190], False


def setup() -> Router:
    router = Router(name="nights")
    router.callback_query.register(on_run_tap, RunTap.filter())
    return router
