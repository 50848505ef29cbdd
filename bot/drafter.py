"""The drafter: writes what is due, one text at a time, and waits out an engine that fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from aiogram import Bot

from bot.context import Twin, heard, utc_now
from bot.telegram import typing
from twin import decisions, engine_pause, replies
from twin.errors import EngineError
from twin.generator import Generated, Sampling
from twin.replies import Job
from twin.settings import Settings
from twin.store import drafts
from twin.turns import Turn, split_bubbles

log = structlog.get_logger()
TRIES = 2  # for no words, or for another variant that says the same again
PAUSED_SECONDS = 3.0  # the engine has given its GPU to the training: look again
GRACE_SECONDS = 10.0  # beyond the engine's own limit
VARIANT_TEMPERATURE = 0.8  # greedy decoding would write the same again


async def draft(twin: Twin, bot: Bot) -> None:
    """For ever."""
    hold_until: datetime | None = None
    while True:
        twin.bells.due.clear()
        async with twin.store.connect() as connection:
            job = await replies.next_job(connection)
        now = utc_now()
        ready_at = max(job.at, hold_until or job.at) if job else None
        if job and ready_at and ready_at <= now:
            hold_until = await _do(twin, bot, job)
        else:
            await heard(twin.bells.due, (ready_at - now).total_seconds() if ready_at else None)


async def _do(twin: Twin, bot: Bot, job: Job) -> datetime | None:
    """Write one text. Returns until when the engine should be left alone, if it failed."""
    if paused_until := await _paused_until(twin):
        return paused_until
    async with twin.store.begin() as connection:
        if await replies.held_back_until(connection, job, twin.settings, utc_now()):
            log.warning("dialog.held_back", dialog_id=job.dialog_id)
            return None
        turns = await replies.prompt(connection, job, twin.settings)
        said = [text for _, text, _ in await drafts.decided(connection, job.draft.id)] if job.draft else []
    if not turns:
        twin.bells.desk.set()
        return None
    try:
        async with typing(bot, twin.owner_id):
            generated = await _generate(twin, job, turns, {*said, job.draft.text} if job.draft else set())
    except EngineError as exc:
        return await _paused_until(twin) or await _put_off(twin, job, exc)
    await _propose(twin, job, generated)
    return None


async def _paused_until(twin: Twin) -> datetime | None:
    """When to look again, while a training has the engine's GPU. Messages wait; nobody need be told of an outage."""
    async with twin.store.connect() as connection:
        return utc_now() + timedelta(seconds=PAUSED_SECONDS) if await engine_pause.is_paused(connection, utc_now()) else None


async def _propose(twin: Twin, job: Job, generated: Generated) -> None:
    async with twin.store.begin() as connection:
        draft = await replies.propose(connection, job, generated, utc_now())
        if draft and job.dialog_id == twin.owner_id:
            await decisions.approve_own(connection, draft, utc_now())
        back = await replies.end_outage(connection, utc_now())
    if back:
        log.info("engine.recovered")
    if draft:
        log.info("draft.proposed", draft_id=draft.id, dialog_id=draft.dialog_id, variant=draft.variant, tokens=generated.tokens)
    else:
        log.info("draft.overtaken", dialog_id=job.dialog_id)
    twin.bells.ring()


async def _put_off(twin: Twin, job: Job, error: EngineError) -> datetime:
    async with twin.store.begin() as connection:
        retry_at = await replies.put_off(connection, job, error, utc_now())
    log.warning("engine.failed", kind=error.kind, dialog_id=job.dialog_id, error=type(error.__cause__ or error).__name__)
    twin.bells.desk.set()
    return retry_at


async def _generate(twin: Twin, job: Job, turns: tuple[Turn, ...], earlier: set[str]) -> Generated:
    sampling = sampling_from(twin.settings)
    if job.draft and sampling.temperature == 0:
        sampling = replace(sampling, temperature=VARIANT_TEMPERATURE)
    for _ in range(TRIES):
        generated = await _ask(twin, turns, sampling)
        if split_bubbles(generated.text) and replies.fit_draft(generated.text) not in earlier:
            break
    return generated


async def _ask(twin: Twin, turns: tuple[Turn, ...], sampling: Sampling) -> Generated:
    try:
        async with asyncio.timeout(twin.settings.engine.seconds + GRACE_SECONDS):
            return await twin.generator.generate(turns, sampling)
    except EngineError:
        raise
    except TimeoutError as exc:
        raise EngineError("The engine takes too long.", kind="slow", mend="See `twin doctor`.") from exc
    except Exception as exc:  # an engine's bug is an outage like any other, and must not end the bot
        raise EngineError(f"The engine failed ({type(exc).__name__}).", kind="refused", mend="See `twin doctor`.") from exc


def sampling_from(settings: Settings) -> Sampling:
    engine = settings.engine
    return Sampling(temperature=engine.temperature, top_p=engine.top_p, max_new_tokens=engine.max_new_tokens)
