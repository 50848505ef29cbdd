"""The drafter: writes what is due, several dialogs at a time, and waits out an engine that fails."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from aiogram import Bot

from bot.context import Twin, heard, utc_now
from bot.habits import Habits
from bot.schedule import local_zone
from bot.telegram import typing
from twin import automatic, caution, decisions, drafting, engine_pause, quiet_hours, tempo, wishes
from twin.drafting import Job, Key, Prepared, Proposal
from twin.errors import EngineError
from twin.generator import Generated, Sampling
from twin.said import cleaned
from twin.settings import Settings
from twin.store import due
from twin.store.drafts import Draft
from twin.tempo import Plan
from twin.turns import Turn, split_bubbles

log = structlog.get_logger()
IN_FLIGHT = {"local": 4, "vllm": 16}  # dialogs at a time; the local engine lets them wait their turn
TRIES = 2  # for no words, or for another variant that says the same again
CANDIDATES = 4  # from which a shorter or warmer one is picked
PAUSED_SECONDS = 3.0  # the engine has given its GPU to the training: look again
GRACE_SECONDS = 10.0  # beyond the engine's own limit
VARIANT_TEMPERATURE = 0.8  # greedy decoding would write the same again


async def draft(twin: Twin, bot: Bot) -> None:
    """For ever."""
    await Drafter(twin, bot).run()


class Drafter:
    def __init__(self, twin: Twin, bot: Bot) -> None:
        self._twin = twin
        self._bot = bot
        self._habits = Habits(twin.settings, twin.store, local_zone())
        self._chance = random.Random()
        self._writing: set[Key] = set()
        self._hold_until: datetime | None = None  # the engine failed: leave it alone until then
        self._most = IN_FLIGHT[twin.settings.engine.kind]

    async def run(self) -> None:
        """For ever. What a task raises ends it, and the bot: the supervisor starts it again, and the store knows what is due."""
        bell = self._twin.bells.due
        _ = self._habits.lists  # a broken word list is told at the start, not in the middle of a chat
        async with asyncio.TaskGroup() as group:
            while True:
                bell.clear()
                wait = await self._start_ready(group)
                await heard(bell, wait)

    async def _start_ready(self, group: asyncio.TaskGroup) -> float | None:
        """Begin what may be begun; the seconds until there may be more, None: until the bell rings."""
        room = self._most - len(self._writing)
        if room <= 0:
            return None
        settings, now = self._twin.settings, utc_now()
        async with self._twin.store.connect() as connection:
            jobs = await drafting.next_jobs(connection, room, settings, but=self._writing)
            ready = [job for job in jobs if self._ready_at(job) <= now]
            if ready and await engine_pause.is_paused(connection, now):
                self._hold_until, ready = now + timedelta(seconds=PAUSED_SECONDS), []
            # All in one look: what a transaction reads first of the file costs it more than what it reads next.
            prepared = [await drafting.prepare(connection, job, settings, now) for job in ready]
            full_until = [await drafting.held_back_until(connection, job, settings, now) for job in ready]
        for job, asked, until in zip(ready, prepared, full_until, strict=True):
            self._writing.add(job.key)
            group.create_task(self._do(job, asked, until), name="draft")
        return min(((self._ready_at(job) - now).total_seconds() for job in jobs[len(ready) :]), default=None)

    def _ready_at(self, job: Job) -> datetime:
        return max(job.at, self._hold_until or job.at)

    async def _do(self, job: Job, prepared: Prepared | None, full_until: datetime | None) -> None:
        try:
            if hold_until := await self._write(job, prepared, full_until):
                self._hold_until = hold_until
        finally:
            self._writing.discard(job.key)
            self._twin.bells.due.set()

    async def _write(self, job: Job, prepared: Prepared | None, full_until: datetime | None) -> datetime | None:
        """Write one text. Returns until when the engine should be left alone, if it failed."""
        twin = self._twin
        now = utc_now()
        if prepared is None:
            async with twin.store.begin() as connection:
                await drafting.drop(connection, job)
            twin.bells.desk.set()
            return None
        if job.due and (held_until := self._quiet_until(job, prepared, now) or full_until):
            log.info("dialog.waits", dialog_id=job.dialog_id, seconds=round((held_until - now).total_seconds()))
            async with twin.store.begin() as connection:
                await due.move(connection, job.due, held_until, attempts=job.due.attempts, failing_since=job.due.failing_since)
            return None
        if prepared.rest:
            await self._propose(job, prepared, Proposal.of_rest(prepared.rest))
            return None
        try:
            generated = await self._generate(job, prepared)
        except EngineError as exc:
            return await self._paused_until() or await self._put_off(job, exc)
        if generated is None:
            async with twin.store.begin() as connection:
                await drafting.leave(connection, job)
            log.info("wish.not_granted", dialog_id=job.dialog_id)
            twin.bells.desk.set()
            return None
        await self._propose(job, prepared, Proposal.of(generated), tokens=generated.tokens)
        return None

    def _quiet_until(self, job: Job, prepared: Prepared, now: datetime) -> datetime | None:
        """The end of the quiet hours, if they are on: nothing goes by itself then."""
        if prepared.mode != "auto" or job.dialog_id == self._twin.owner_id:
            return None
        return quiet_hours.ends_at(self._twin.settings, now, self._habits.zone)

    async def _propose(self, job: Job, prepared: Prepared, proposal: Proposal, *, tokens: int = 0) -> None:
        twin = self._twin
        goes_by_itself = prepared.mode == "auto" and job.due is not None and job.dialog_id != twin.owner_id
        flags = await self._flags(prepared, proposal) if goes_by_itself else []
        plan = await self._plan(prepared, proposal) if goes_by_itself else None
        now = utc_now()
        async with twin.store.begin() as connection:
            fate = await automatic.fate(connection, job.dialog_id, proposal, flags, plan, twin.settings, now) if plan else None
            born = fate.born if fate else {}
            draft = await drafting.propose(connection, job, prepared, proposal, twin.settings, now, born=born)
            if draft and job.dialog_id == twin.owner_id:
                await decisions.approve_own(connection, draft, now)
            elif draft and fate and plan and fate.bubbles:
                await automatic.let_go(connection, draft, fate.bubbles, plan, now)
            back = bool(tokens) and await drafting.end_outage(connection, now)
        if back:
            log.info("engine.recovered")
        self._tell(job, draft, tokens)

    def _tell(self, job: Job, draft: Draft | None, tokens: int) -> None:
        if draft:
            ids = {"draft_id": draft.id, "dialog_id": draft.dialog_id, "variant": draft.variant}
            log.info("draft.proposed", mode=draft.mode, intent=draft.intent, tokens=tokens, **ids)
        else:
            log.info("draft.overtaken", dialog_id=job.dialog_id)
        self._twin.bells.ring()

    async def _flags(self, prepared: Prepared, proposal: Proposal) -> list[str]:
        return caution.flags(
            split_bubbles(proposal.text),
            prepared.burst,
            prepared.history,
            lists=self._habits.lists,
            mean_logprob=proposal.mean_logprob,
            min_logprob=await self._habits.min_logprob(proposal.adapter),
            name=prepared.name,
        )

    async def _plan(self, prepared: Prepared, proposal: Proposal) -> Plan:
        bubbles, now = decisions.to_bubbles(split_bubbles(proposal.text)), utc_now()
        kept = self._twin.settings.tempo
        if kept.kind == "instant":
            return tempo.instant(now, bubbles)
        learned = await self._habits.tempo(prepared.burst[-1].dialog_id, now)
        asked_at = prepared.burst[-1].sent_at
        return learned.plan(bubbles, asked_at=asked_at, now=now, chance=self._chance, longest_seconds=kept.longest_seconds)

    async def _paused_until(self) -> datetime | None:
        """When to look again, while a training has the engine's GPU. Messages wait; nobody need be told of an outage."""
        async with self._twin.store.connect() as connection:
            paused = await engine_pause.is_paused(connection, utc_now())
        return utc_now() + timedelta(seconds=PAUSED_SECONDS) if paused else None

    async def _put_off(self, job: Job, error: EngineError) -> datetime:
        async with self._twin.store.begin() as connection:
            retry_at = await drafting.put_off(connection, job, error, utc_now())
        log.warning("engine.failed", kind=error.kind, dialog_id=job.dialog_id, error=type(error.__cause__ or error).__name__)
        self._twin.bells.desk.set()
        return retry_at

    async def _generate(self, job: Job, prepared: Prepared) -> Generated | None:
        """A first draft, or a variant of one; None if no variant is what the owner wished for."""
        if prepared.mode != "approve":
            return await self._write_first_or_variant(job, prepared)
        async with typing(self._bot, self._twin.owner_id):
            return await self._write_first_or_variant(job, prepared)

    async def _write_first_or_variant(self, job: Job, prepared: Prepared) -> Generated | None:
        sampling = sampling_from(self._twin.settings)
        if job.draft:
            return await self._variant(job.draft, prepared, sampling)
        for _ in range(TRIES):
            generated = await self._ask(prepared.turns, sampling)
            if split_bubbles(generated.text):
                break
        return generated

    async def _variant(self, draft: Draft, prepared: Prepared, sampling: Sampling) -> Generated | None:
        """One that grants the wish and that the owner has not seen; None if a few tries do not bring it."""
        if sampling.temperature == 0:
            sampling = replace(sampling, temperature=VARIANT_TEMPERATURE)
        wish = draft.wish or "another"
        for _ in range(TRIES if wish == "another" else 1):
            drawn = await asyncio.gather(*(self._ask(prepared.turns, sampling) for _ in range(1 if wish == "another" else CANDIDATES)))
            candidates = [replace(one, text=drafting.fit_draft(one.text)) for one in drawn]
            picked = wishes.pick(wish, draft.text, [one.text for one in candidates], self._habits.lists, seen=prepared.said)
            if picked is not None:
                return next(one for one in candidates if one.text == picked)
        return None

    async def _ask(self, turns: tuple[Turn, ...], sampling: Sampling) -> Generated:
        try:
            async with asyncio.timeout(self._most * (self._twin.settings.engine.seconds + GRACE_SECONDS)):
                generated = await self._twin.generator.generate(turns, sampling)
                return replace(generated, text=cleaned(generated.text))
        except EngineError:
            raise
        except TimeoutError as exc:
            raise EngineError("The engine takes too long.", kind="slow", mend="See `twin doctor`.") from exc
        except Exception as exc:  # an engine's bug is an outage like any other, and must not end the bot
            raise EngineError(f"The engine failed ({type(exc).__name__}).", kind="refused", mend="See `twin doctor`.") from exc


def sampling_from(settings: Settings) -> Sampling:
    engine = settings.engine
    return Sampling(temperature=engine.temperature, top_p=engine.top_p, max_new_tokens=engine.max_new_tokens)
