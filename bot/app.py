"""The bot, composed: one poller, one worker, one drafter, one sender, one desk, one housekeeper, one nightwatch, one timer.

They share nothing but the store and a few bells, so each may die with the process on any line:

    poller -> inbox -> worker -> messages, replies_due -> drafter -> drafts -> desk -> card -> (tap) -> outbox -> sender
       └──── a contact's plain words ────▲
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog
from aiogram import Bot, Dispatcher, Router
from aiogram.exceptions import TelegramNotFound, TelegramUnauthorizedError

from bot.connecting import look_again
from bot.context import Bells, Promote, Rollback, Twin, utc_now
from bot.desk import keep_desk
from bot.drafter import draft
from bot.guard import FromOwner, guard
from bot.handlers import business, commands, contacts, groups, modes, nights, silence, talk, taps
from bot.housekeeping import keep_house
from bot.live import Accounts
from bot.live.live import Live
from bot.nightwatch import watch
from bot.poller import poll
from bot.presence import note_owner
from bot.retraining import IsTraining, Retrain, Retraining
from bot.schedule import start as start_schedule
from bot.sender import send
from bot.telegram import ERRORS, Pause, explain, make_bot
from bot.ways import LookUp, Way
from bot.ways.business import BusinessWay
from bot.ways.chat import BotWay
from bot.ways.session import SessionWay
from bot.worker import suspect_first, work
from twin.errors import SettingsError
from twin.generator import Generator
from twin.settings import Settings
from twin.store import outbox
from twin.store.engine import Store

log = structlog.get_logger()
OnReady = Callable[[str], None]  # told the bot's @username once the bot answers


async def run_bot(
    settings: Settings,
    store: Store,
    generator: Generator,
    *,
    retrain: Retrain,
    rollback: Rollback,
    promote: Promote,
    is_training: IsTraining,
    on_ready: OnReady = lambda username: None,
    accounts: Accounts | None = None,
    session: Way | None = None,
    look_up: LookUp | None = None,
) -> None:
    """Run until cancelled. Raises SettingsError without token or owner, TelegramError if the token is refused at the start.

    The caller opens and closes the store and the generator. `retrain(night)`, `rollback()` and `promote(name)` answer with one
    line for the owner, or raise TwinError; `retrain` is cancelled to be stopped. `is_training()` tells whether any process,
    this one's or another's, holds the training lock. `accounts` opens the owner's account for the live session, if one is wanted;
    without it, `session` may be another way to answer as the owner, and `look_up` to read what was answered.
    """
    if settings.owner.id is None:
        raise SettingsError("The owner is not set.", mend="Set TWIN_OWNER__ID to your numeric Telegram id.")
    bells = Bells()
    retraining = Retraining(retrain, store, settings, is_training=is_training, ring=bells.nights.set)
    live = Live(accounts, store, settings, bells) if accounts else None
    twin = Twin(settings, store, generator, retraining, rollback, promote, settings.owner.id, bells, lambda: live.state if live else None)
    bot = make_bot(settings)
    scheduler = None
    try:
        scheduler = start_schedule(retraining.look, retraining.clock, utc_now)
        if live:
            session = live_way = SessionWay(live, store)
            look_up = live_way.look_up
        ways: dict[outbox.Way, Way] = {"bot": BotWay(bot), "business": BusinessWay(bot, store)}
        await _run(twin, bot, ways | ({"session": session} if session else {}), look_up, live, on_ready)
    finally:
        if scheduler:
            scheduler.shutdown(wait=False)
        await retraining.close()
        await bot.session.close()
        log.info("bot.stopped")


async def _run(twin: Twin, bot: Bot, ways: Mapping[outbox.Way, Way], look_up: LookUp | None, live: Live | None, on_ready: OnReady) -> None:
    username = await _meet(bot)
    await commands.set_menu(bot, twin.owner_id)
    dispatcher = make_dispatcher(twin)
    await suspect_first(twin)
    await look_again(twin, bot)
    log.info("bot.started", bot_id=bot.id)
    async with asyncio.TaskGroup() as group:
        group.create_task(poll(twin, bot, dispatcher.resolve_used_update_types()), name="poller")
        group.create_task(work(twin, bot, dispatcher), name="worker")
        group.create_task(draft(twin, bot), name="drafter")
        group.create_task(send(twin, ways, look_up), name="sender")
        group.create_task(keep_desk(twin, bot), name="desk")
        group.create_task(keep_house(twin), name="housekeeper")
        group.create_task(watch(twin, bot), name="nightwatch")
        if live:
            group.create_task(live.run(), name="live")
        on_ready(username)


async def _meet(bot: Bot) -> str:
    """Wait until Telegram answers; a refused token is no reason to wait."""
    pause = Pause()
    while True:
        try:
            return (await bot.get_me()).username or ""
        except (TelegramUnauthorizedError, TelegramNotFound) as exc:
            raise explain(exc) from exc
        except ERRORS as exc:
            seconds = pause.next(exc)
            log.warning("start.delayed", why=str(explain(exc)), error=type(exc).__name__, retry_seconds=seconds)
            await asyncio.sleep(seconds)


def make_dispatcher(twin: Twin) -> Dispatcher:
    """All handlers. Whatever the owner may do is inside the one guarded router."""
    dispatcher = Dispatcher(disable_fsm=True)  # what must be remembered is in the store
    dispatcher["twin"] = twin
    owner = guard(Router(name="owner"), FromOwner(twin.owner_id))
    for observer in (owner.message, owner.callback_query):
        observer.middleware(note_owner)
    owner.include_routers(commands.setup(), silence.setup(), modes.setup(), taps.setup(), nights.setup(), talk.setup(), taps.setup_last())
    dispatcher.include_routers(owner, contacts.setup(twin.owner_id), business.setup(twin.owner_id), groups.setup())
    return dispatcher
