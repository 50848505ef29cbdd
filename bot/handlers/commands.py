"""The owner's commands."""

from __future__ import annotations

from datetime import timedelta

import structlog
from aiogram import Bot, F, Router
from aiogram.filters import Command, CommandObject, CommandStart
from aiogram.types import BotCommand, BotCommandScopeChat, Message
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import reports
from bot.buttons import silence_keyboard
from bot.cards import shown_name
from bot.context import Twin, utc_now
from bot.handlers.taps import refusal
from bot.once import Once
from bot.reports import Reach
from bot.run_card import glance
from bot.schedule import local_zone
from bot.telegram import quietly
from bot.words import CONTACT_COMMANDS, HELP, OWNER_COMMANDS, PRIVACY
from twin import decisions, modes, silence
from twin.contacts import label
from twin.decisions import Verdict
from twin.drafting import OUTAGE
from twin.nights import lives
from twin.store import adapters, cards, connections, drafts, facts, overview, runs
from twin.store.drafts import Draft
from twin.turns import split_bubbles

log = structlog.get_logger()
STOPPED = {
    "stopped": "Retraining is stopped.",
    "asked": "A run of another program is going on. I asked it to end; it does so within seconds.",
    "nothing": "No retraining is going on.",
}


async def on_start(message: Message, bot: Bot, twin: Twin) -> None:
    await set_menu(bot, twin.owner_id)  # Telegram refuses it before the owner's first word
    await message.answer(HELP)
    twin.bells.desk.set()


async def on_help(message: Message) -> None:
    await message.answer(HELP)


async def on_privacy(message: Message) -> None:
    await message.answer(PRIVACY)


async def on_approve(message: Message, command: CommandObject, twin: Twin, once: Once) -> None:
    wanted = (command.args or "").strip()
    if wanted and not wanted.isdecimal():
        await message.answer("Write /approve for the newest draft, or /approve 12 for draft 12.")
        return
    answer = await once.effect(lambda connection: _approve(connection, int(wanted or 0), message))
    twin.bells.ring()
    await message.answer(answer)


async def _approve(connection: AsyncConnection, wanted: int, message: Message) -> str:
    """Approve the draft that the owner named or saw last, if its words are those that he saw; returns what to tell him."""
    draft = await drafts.get(connection, wanted) if wanted else await _newest_seen(connection, message)
    if draft is None:
        return "There is no such draft." if wanted else "No draft is waiting."
    if draft.state == "pending" and not cards.shows(draft, message.message_id, message.date):
        verdict = Verdict("outdated", draft)
    else:
        verdict = await decisions.send(connection, draft.id, utc_now())
    log.info("draft.approved", draft_id=draft.id, outcome=verdict.what)
    if verdict.what != "done":
        return refusal(verdict)
    return f"Draft {draft.id} is on its way to {shown_name(await label(connection, draft.dialog_id))}."


async def _newest_seen(connection: AsyncConnection, message: Message) -> Draft | None:
    """The draft that stood newest above this message, if possible one with words. It may have ended since: then nothing is approved, for
    what stood above it is perhaps for another person."""
    seen = await cards.seen_waiting(connection, message.message_id, message.date)
    return next((draft for draft in seen if split_bubbles(draft.text)), seen[0] if seen else None)


async def on_status(message: Message, twin: Twin) -> None:
    async with twin.store.connect() as connection:
        state = await overview.read(connection, owner_id=twin.owner_id)
        active = await adapters.active(connection)
        outage = await facts.get(connection, OUTAGE)
        newest = await runs.newest(connection)
        now = utc_now()
        ways = Reach(
            connection=await connections.current(connection),
            live=twin.live_state(),
            silent_since=await silence.since(connection),
            automatic=await modes.automatic_since(connection, now - timedelta(days=1)),
            auto=twin.settings.auto,
        )
        default_mode = await modes.default(connection, twin.settings)
    text = reports.status(
        state,
        ways=ways,
        default_mode=default_mode,
        adapter=active.name if active else None,
        outage=outage,
        going_on=glance(newest) if newest and lives(newest, now) else None,
        next_night=twin.retraining.clock().next(now).astimezone(local_zone()),
        now=now,
    )
    await message.answer(**text.as_kwargs(), reply_markup=silence_keyboard(begin=ways.silent_since is None))


async def on_adapters(message: Message, twin: Twin) -> None:
    async with twin.store.connect() as connection:
        known = await adapters.find(connection)
    await message.answer(**reports.adapter_list(known).as_kwargs())


async def on_rollback(message: Message, twin: Twin, once: Once) -> None:
    await message.answer(await once.attempt(twin.rollback))


async def on_retrain(message: Message, command: CommandObject, twin: Twin, once: Once) -> None:
    what = (command.args or "").strip().lower()
    if what not in ("", "full", "stop"):
        await message.answer("Write /retrain, /retrain full or /retrain stop.")
        return

    async def carry_out() -> str:
        if what == "stop":
            return STOPPED[await twin.retraining.stop()]
        if await twin.retraining.order(full=what == "full"):
            return "Retraining has begun. A message follows it; /retrain stop ends it."
        return "A retraining is going on already. /retrain stop ends it."

    await message.answer(await once.attempt(carry_out))


async def set_menu(bot: Bot, owner_id: int) -> bool:
    """The owner's commands in the owner's chat, /privacy in everybody else's."""
    await quietly(bot.set_my_commands(_menu(CONTACT_COMMANDS)), "menu.refused")
    return await quietly(bot.set_my_commands(_menu(OWNER_COMMANDS), scope=BotCommandScopeChat(chat_id=owner_id)), "menu.refused")


def _menu(commands: dict[str, str]) -> list[BotCommand]:
    return [BotCommand(command=name, description=text) for name, text in commands.items()]


def setup() -> Router:
    router = Router(name="commands")
    router.message.filter(~F.forward_origin, ~F.via_bot)
    router.message.register(on_start, CommandStart())
    for name, handler in (
        ("help", on_help),
        ("privacy", on_privacy),
        ("approve", on_approve),
        ("status", on_status),
        ("adapters", on_adapters),
        ("rollback", on_rollback),
        ("retrain", on_retrain),
    ):
        router.message.register(handler, Command(name))
    return router
