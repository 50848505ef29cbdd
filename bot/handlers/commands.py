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
from bot.context import Twin, utc_now
from bot.handlers.taps import refusal
from bot.reports import Reach
from bot.run_card import glance
from bot.schedule import local_zone
from bot.telegram import quietly
from bot.words import CONTACT_COMMANDS, HELP, OWNER_COMMANDS, PRIVACY
from twin import decisions, modes, silence
from twin.decisions import Verdict
from twin.drafting import OUTAGE
from twin.errors import TwinError
from twin.nights import lives
from twin.store import adapters, connections, dialogs, drafts, facts, overview, runs
from twin.turns import split_bubbles

log = structlog.get_logger()
LAST_APPROVAL = "last approval"
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


async def on_approve(message: Message, command: CommandObject, twin: Twin, update_id: int) -> None:
    wanted = (command.args or "").strip()
    if wanted and not wanted.isdecimal():
        await message.answer("Write /approve for the newest draft, or /approve 12 for draft 12.")
        return
    async with twin.store.begin() as connection:
        draft_id, verdict = await _approve_once(connection, int(wanted or 0), message.message_id, update_id)
        dialog = await dialogs.get(connection, verdict.draft.dialog_id) if verdict.draft else None
    log.info("draft.approved", draft_id=draft_id, outcome=verdict.what)
    twin.bells.ring()
    if verdict.what == "done" and verdict.draft:
        await message.answer(f"Draft {verdict.draft.id} is on its way to {(dialog and dialog.name) or 'them'}.")
    else:
        await message.answer(refusal(verdict) if draft_id else "No draft is waiting.")


async def _approve_once(connection: AsyncConnection, wanted: int, message_id: int, update_id: int) -> tuple[int, Verdict]:
    """The draft that is meant, 0 if there is none, and what became of it. The update is repeated if its answer does not get through;
    what it did then was noted with what it approved, and is only told again: by then the newest draft may be another person's."""
    done = await facts.get(connection, LAST_APPROVAL)
    if done and done["update_id"] == update_id:
        draft = await drafts.get(connection, done["draft_id"])
        return done["draft_id"], Verdict(done["what"], draft)
    draft_id = wanted or await _newest_seen(connection, message_id)
    verdict = await decisions.send(connection, draft_id, utc_now()) if draft_id else Verdict("unknown")
    await facts.put(connection, LAST_APPROVAL, {"update_id": update_id, "draft_id": draft_id, "what": verdict.what})
    return draft_id, verdict


async def _newest_seen(connection: AsyncConnection, message_id: int) -> int:
    """The newest draft whose card stood in the owner's chat above this message, if possible one with words; 0 if there is none."""
    seen = [draft for draft in await drafts.pending(connection) if draft.card_message_id and draft.card_message_id < message_id]
    newest = next((draft for draft in seen if split_bubbles(draft.text)), seen[0] if seen else None)
    return newest.id if newest else 0


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


async def on_rollback(message: Message, twin: Twin, update_id: int) -> None:
    if not await _first_time(twin, "last rollback", update_id):
        return
    try:
        await message.answer(await twin.rollback())
    except TwinError as exc:
        await message.answer(str(exc))


async def on_retrain(message: Message, command: CommandObject, twin: Twin, update_id: int) -> None:
    what = (command.args or "").strip().lower()
    if what not in ("", "full", "stop"):
        await message.answer("Write /retrain, /retrain full or /retrain stop.")
        return
    if not await _first_time(twin, "last retraining", update_id):
        return
    if what == "stop":
        await message.answer(STOPPED[await twin.retraining.stop()])
    elif await twin.retraining.order(full=what == "full"):
        await message.answer("Retraining has begun. A message follows it; /retrain stop ends it.")
    else:
        await message.answer("A retraining is going on already. /retrain stop ends it.")


async def set_menu(bot: Bot, owner_id: int) -> bool:
    """The owner's commands in the owner's chat, /privacy in everybody else's."""
    await quietly(bot.set_my_commands(_menu(CONTACT_COMMANDS)), "menu.refused")
    return await quietly(bot.set_my_commands(_menu(OWNER_COMMANDS), scope=BotCommandScopeChat(chat_id=owner_id)), "menu.refused")


def _menu(commands: dict[str, str]) -> list[BotCommand]:
    return [BotCommand(command=name, description=text) for name, text in commands.items()]


async def _first_time(twin: Twin, what: str, update_id: int) -> bool:
    """These commands cannot be repeated, so they are carried out at most once: noted before, not after."""
    async with twin.store.begin() as connection:
        if await facts.get(connection, what) == update_id:
            return False
        await facts.put(connection, what, update_id)
    return True


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
