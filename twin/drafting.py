"""Drafting: how a draft comes to be, from what is due to a row that waits for the owner, goes by itself, or is only compared.

replies_due ─next_jobs─▶ prepare ─engine─▶ propose ─▶ pending (approve)
                 ▲                            ├─────▶ twin.automatic (auto)
                 └────── put_off ◀────────────┘─────▶ born expired (shadow)

Every function works inside the caller's transaction and may be repeated after a crash.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from twin import modes, silence
from twin.errors import EngineError
from twin.generator import Generated
from twin.names import SOMEBODY
from twin.prompting import answered_first, live_prompt
from twin.replies import HISTORY
from twin.resting import Rest, rests
from twin.settings import Settings
from twin.store import dialogs, drafts, due, facts, limits, messages, notices
from twin.store.dialogs import Dialog
from twin.store.drafts import Draft, Intent, Wish
from twin.store.due import Due
from twin.turns import Message, Turn, join_bubbles, last_burst, split_bubbles
from twin.utf16 import cut, length

MAX_DRAFT = 3000  # UTF-16 units: a draft is shown whole on its card, so that the owner approves nothing unseen
LONGEST_PAUSE = 60.0  # seconds between two tries of a failing engine
PATIENCE = 5  # refusals of one prompt, while others are answered, before the owner is handed an empty draft
OUTAGE = "engine outage"  # the fact that tells whether the owner knows that the engine fails
SHADOW = "shadow"  # the reason a shadow draft is born expired with
RESTED = "let rest"
NOT_GRANTED: dict[Wish, str] = {
    "another": "nothing else came",
    "shorter": "nothing shorter came",
    "warmer": "nothing warmer came",
}

Key = tuple[str, int]  # channel, dialog id


@dataclass(frozen=True)
class Job:
    """One text to generate: the first draft of a dialog (`due`), or another variant of one (`draft`)."""

    channel: str
    dialog_id: int
    at: datetime  # not before
    due: Due | None = None
    draft: Draft | None = None

    @property
    def key(self) -> Key:
        return self.channel, self.dialog_id


@dataclass(frozen=True)
class Prepared:
    """What is known before the engine is asked. `burst`: the contact's newest words. `said`: texts that are not wanted again."""

    mode: Literal["approve", "auto", "shadow"]
    name: str
    turns: tuple[Turn, ...]
    history: list[Message]
    burst: list[Message]
    said: frozenset[str] = frozenset()
    rest: Rest | None = None


@dataclass(frozen=True)
class Proposal:
    """What is to become a draft. Without words and with `intent` "rest": better no answer."""

    text: str
    adapter: str | None = None
    mean_logprob: float | None = None
    intent: Intent = "reply"
    reason: str | None = None

    @classmethod
    def of(cls, generated: Generated) -> Proposal:
        return cls(fit_draft(generated.text), generated.adapter, generated.mean_logprob)

    @classmethod
    def of_rest(cls, rest: Rest) -> Proposal:
        return cls("", intent="rest", reason=f"you usually let such a message rest ({round(rest.share * rest.cases)} of {rest.cases})")


async def next_jobs(connection: AsyncConnection, limit: int, settings: Settings, *, but: Collection[Key] = ()) -> list[Job]:
    """What is to be generated first, of dialogs that are not in `but`; `at` may lie ahead. While the twin is silent only what the
    owner himself asks for."""
    only = settings.owner.id if await silence.since(connection) else None
    jobs = [Job(d.channel, d.dialog_id, d.due_at, due=d) for d in await due.first_ones(connection, limit + len(but), only=only)]
    asked = await drafts.another_due(connection, limit + len(but))
    jobs += [Job(d.channel, d.dialog_id, d.another_due_at, draft=d) for d in asked if d.another_due_at]
    jobs = [job for job in sorted(jobs, key=lambda job: job.at) if job.key not in but]
    firsts = {job.key: job for job in reversed(jobs)}  # one job of a dialog at a time
    return sorted(firsts.values(), key=lambda job: job.at)[:limit]


async def held_back_until(connection: AsyncConnection, job: Job, settings: Settings, now: datetime) -> datetime | None:
    """When a draft may be made again, if an hour's limit is used up, of this contact or of all."""
    if job.due is None or job.dialog_id == settings.owner.id:
        return None
    bot = settings.bot
    made = await limits.made_at(connection, *job.key, nth_here=bot.drafts_per_hour, nth=bot.drafts_per_hour_in_all)
    free_at = max((at + timedelta(hours=1, seconds=1) for at in made if at), default=now)
    return free_at if free_at > now + timedelta(seconds=1) else None


async def prepare(connection: AsyncConnection, job: Job, settings: Settings, now: datetime) -> Prepared | None:
    """What to ask the engine. None if there is nothing to answer (any more): `drop` the job then."""
    dialog = await dialogs.get(connection, job.dialog_id)
    own = job.dialog_id == settings.owner.id
    mode = "approve" if own else await modes.effective(connection, dialog, settings)
    if dialog is None or mode == "off" or (dialog.excluded and not own):
        return None
    answered = await drafts.answered_id(connection, job.channel, job.dialog_id)
    history = in_order(await messages.history(connection, job.dialog_id, newest=HISTORY), job.channel, answered)
    turns = live_prompt(history, settings.owner.name, SOMEBODY if own else dialog.name, settings.dataset.gap_hours * 3600)
    if not turns:
        return None
    burst = last_burst(history)
    said = [text for _, text, _ in await drafts.decided(connection, job.draft.id)] if job.draft else []
    rest = rests(history, burst, now=now) if job.due and not own else None
    return Prepared(mode, dialog.name, turns, history, burst, frozenset([*said, *([job.draft.text] if job.draft else [])]), rest)


def in_order(history: list[Message], channel: str, answered_id: int) -> list[Message]:
    """Unanswered words last. What the owner wrote in the chat himself answers all that was there before it."""
    if channel == "account":
        by_hand = [
            m.message_id for m in history if m.out and m.channel == channel and m.source not in ("twin", "owner") and not m.unattended
        ]
        answered_id = max([answered_id, *by_hand])
    return answered_first(history, channel, answered_id)


async def drop(connection: AsyncConnection, job: Job) -> None:
    """There is nothing to answer."""
    if job.due:
        await due.take(connection, job.due)
    elif job.draft:
        await drafts.change(connection, job.draft, another_due_at=None, wish=None)


async def leave(connection: AsyncConnection, job: Job) -> None:
    """No variant was what the owner wished for: the draft stays as it is, and its card says so."""
    if job.draft:
        await drafts.change(connection, job.draft, another_due_at=None, wish=None, reason=NOT_GRANTED[job.draft.wish or "another"])


async def propose(
    connection: AsyncConnection,
    job: Job,
    prepared: Prepared,
    proposal: Proposal,
    settings: Settings,
    now: datetime,
    *,
    born: Mapping[str, Any] = MappingProxyType({}),
) -> Draft | None:
    """Turn a proposal into a pending draft, into the next variant of one, or into a shadow. None if it is out of date already:
    something came in, the twin was told to be silent, or the contact's mode is another. `born`: columns of a first draft whose fate
    is known (`twin.automatic`)."""
    words = {"text": proposal.text, "adapter": proposal.adapter, "mean_logprob": proposal.mean_logprob, "intent": proposal.intent}
    if job.draft:
        fresh = {
            **words,
            "author": "twin",
            "reason": proposal.reason,
            "variant": job.draft.variant + 1,
            "another_due_at": None,
            "wish": None,
        }
        return await drafts.get(connection, job.draft.id) if await drafts.change(connection, job.draft, **fresh) else None
    dialog = await dialogs.get(connection, job.dialog_id)
    if job.dialog_id != settings.owner.id and not await _still_wanted(connection, dialog, prepared, settings):
        return None
    if not (job.due and await due.take(connection, job.due)):
        return None
    if prepared.mode == "shadow":
        born = {"state": "expired", "reason": SHADOW, "settled_at": now}
    return await _add(connection, job, proposal, prepared.mode, now, born)


async def put_off(connection: AsyncConnection, job: Job, error: EngineError, now: datetime) -> datetime:
    """The engine failed: try again later, and tell the owner once an outage. Returns when.

    A prompt that is refused again and again while others are answered is no outage: the owner gets a draft without
    words, to be written by hand.
    """
    attempts = (job.due.attempts if job.due else 0) + 1
    retry_at = now + timedelta(seconds=min(LONGEST_PAUSE, 2.0**attempts))
    if job.due:
        since = job.due.failing_since or now
        if error.kind == "refused" and attempts >= PATIENCE and await drafts.any_words_since(connection, since):
            if await due.take(connection, job.due):
                await _add(connection, job, Proposal("", reason=error.what), "approve", now)
            return now
        await due.move(connection, job.due, retry_at, attempts=attempts, failing_since=since)
    elif job.draft:
        await drafts.change(connection, job.draft, another_due_at=retry_at)
    if not (error.kind == "refused" and attempts == 1) and not await facts.get(connection, OUTAGE):
        await facts.put(connection, OUTAGE, {"since": now.isoformat(), "what": error.what})
        await notices.add(connection, outage_line(error), now)
    return retry_at


async def end_outage(connection: AsyncConnection, now: datetime) -> bool:
    """The engine answered. True if the owner had been told that it does not."""
    if not await facts.get(connection, OUTAGE):
        return False
    await facts.forget(connection, OUTAGE)
    await notices.add(connection, "The engine answers again. The messages that waited are being drafted now.", now)
    return True


def outage_line(error: EngineError) -> str:
    return f"I cannot answer at the moment: {error} Messages wait and are answered when the engine is back."


def fit_draft(text: str) -> str:
    """A generated turn without blank bubbles, cut to what a card can show: between bubbles if that leaves one."""
    bubbles = [bubble.strip() for bubble in split_bubbles(text) if bubble.strip()]
    kept: list[str] = []
    room = MAX_DRAFT
    for bubble in bubbles:
        room -= length(join_bubbles([bubble])) + 1
        if room < 0:
            break
        kept.append(bubble)
    return join_bubbles(kept or [cut(bubble, MAX_DRAFT) for bubble in bubbles[:1]])


async def _still_wanted(connection: AsyncConnection, dialog: Dialog | None, prepared: Prepared, settings: Settings) -> bool:
    mode = await modes.effective(connection, dialog, settings)
    return mode == prepared.mode and not await silence.since(connection)


async def _add(
    connection: AsyncConnection,
    job: Job,
    proposal: Proposal,
    mode: Literal["approve", "auto", "shadow"],
    now: datetime,
    born: Mapping[str, Any] = MappingProxyType({}),
) -> Draft:
    return await drafts.add(
        connection,
        channel=job.channel,
        dialog_id=job.dialog_id,
        answers_message_id=await messages.newest_id(connection, job.channel, job.dialog_id),
        text=proposal.text,
        adapter=proposal.adapter,
        mean_logprob=proposal.mean_logprob,
        mode=mode,
        intent=proposal.intent,
        at=now,
        **{"reason": proposal.reason, **born},
    )
