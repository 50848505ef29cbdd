"""The reply rules: what happens when a contact writes, and how a draft comes to be. Knows no Telegram library.

a contact writes ─receive─▶ replies_due ─(burst over)─▶ prompt ─engine─▶ propose ─▶ draft, pending
                                 ▲                         │
                                 └──────── put_off ────────┘ the engine failed: later, nothing is lost

Every function works inside the caller's transaction and may be repeated after a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from twin import modes, silence
from twin.errors import EngineError
from twin.generator import Generated
from twin.prompting import answered_first, live_prompt
from twin.settings import Settings
from twin.store import dialogs, drafts, due, facts, messages, notices, prompts
from twin.store.dialogs import Mode
from twin.store.drafts import Draft
from twin.store.due import Due
from twin.turns import Message, Turn, bursts, join_bubbles, split_bubbles
from twin.utf16 import cut, length

HISTORY = 200  # newest messages that a prompt is made from; the engine cuts to its own limit in tokens
MAX_DRAFT = 3000  # UTF-16 units: a draft is shown whole on its card, so that the owner approves nothing unseen
LONGEST_PAUSE = 60.0  # seconds between two tries of a failing engine
PATIENCE = 5  # refusals of one prompt, while others are answered, before the owner is handed an empty draft

CHANNELS = ("account", "bot")
SUPERSEDED = "superseded"
TIMED_OUT = "timed out"
SWITCHED_OFF = "switched off"
OUTAGE = "engine outage"  # the fact that tells whether the owner knows that the engine fails


@dataclass(frozen=True)
class Job:
    """One text to generate: the first draft of a dialog (`due`), or another variant of one (`draft`)."""

    channel: str
    dialog_id: int
    at: datetime  # not before
    due: Due | None = None
    draft: Draft | None = None


async def receive(
    connection: AsyncConnection, message: Message, *, name: str, username: str | None, settings: Settings, now: datetime
) -> bool:
    """Keep a contact's message; True if a draft is due for it. What is known already (an update handled twice) changes nothing."""
    dialog = await dialogs.get(connection, message.dialog_id)
    if dialog and dialog.excluded:
        return False
    if await messages.get(connection, message.channel, message.dialog_id, message.message_id):
        return False
    await dialogs.save(connection, message.dialog_id, name=name, username=username)
    await messages.save(connection, [message])
    if message.kind == "service":
        return False
    await supersede(connection, message.channel, message.dialog_id, SUPERSEDED, now)
    if await modes.effective(connection, dialog, settings) == "off":
        return False
    await due.put(connection, message.channel, message.dialog_id, now + timedelta(seconds=settings.bot.burst_seconds))
    return True


async def receive_edit(
    connection: AsyncConnection, message: Message, *, name: str, username: str | None, settings: Settings, now: datetime
) -> bool:
    """Follow a contact's edit; True if it changed words that no answer has gone out to, so that they are drafted again."""
    known = await messages.get(connection, message.channel, message.dialog_id, message.message_id)
    if known is None:  # the edit overtook the message itself
        wanted = await receive(connection, message, name=name, username=username, settings=settings, now=now)
        await messages.edit(connection, message.channel, message.dialog_id, message.message_id, message.text, now)
        return wanted
    if known.text == message.text:
        return False
    await messages.edit(connection, message.channel, message.dialog_id, message.message_id, message.text, now)
    unanswered = message.message_id > await drafts.answered_id(connection, message.channel, message.dialog_id)
    waits = await drafts.pending(connection, message.channel, message.dialog_id)
    if not unanswered or not (waits or await due.get(connection, message.channel, message.dialog_id)):
        return False
    await supersede(connection, message.channel, message.dialog_id, SUPERSEDED, now)
    await due.put(connection, message.channel, message.dialog_id, now + timedelta(seconds=settings.bot.burst_seconds))
    return True


async def receive_from_owner(connection: AsyncConnection, message: Message, *, name: str, now: datetime) -> bool:
    """The owner talks to the twin: answered at once and without a card. Never collected, never trained on."""
    if message.kind == "service" or await messages.get(connection, message.channel, message.dialog_id, message.message_id):
        return False
    await dialogs.save(connection, message.dialog_id, name=name, username=None)
    await dialogs.exclude(connection, message.dialog_id, True)
    await messages.save(connection, [message])
    await due.put(connection, message.channel, message.dialog_id, now)
    return True


async def supersede(connection: AsyncConnection, channel: str, dialog_id: int, reason: str, now: datetime) -> None:
    """What waited for the owner is out of date. A question for the owner's words stays open: they are not thrown away."""
    for draft in await drafts.pending(connection, channel, dialog_id):
        await drafts.change(connection, draft, state="expired", reason=reason, settled_at=now, another_due_at=None)
    newest = await drafts.newest(connection, channel, dialog_id)
    if newest and newest.state == "rejected":
        await drafts.change(connection, newest)  # its card loses [Undo]


async def set_mode(connection: AsyncConnection, dialog_id: int, mode: Mode | None, settings: Settings, now: datetime) -> None:
    """Set it, and withdraw what it forbids. None: the default."""
    await dialogs.set_mode(connection, dialog_id, mode)
    await _follow_mode(connection, dialog_id, mode or await modes.default(connection, settings), now)


async def set_default_mode(connection: AsyncConnection, mode: Mode, now: datetime) -> None:
    """The mode of everyone for whom none is set; withdraws what it forbids."""
    await modes.put_default(connection, mode)
    for dialog in await dialogs.find(connection):
        if dialog.mode is None and not dialog.excluded:  # the owner's own chat with the twin has no mode
            await _follow_mode(connection, dialog.dialog_id, mode, now)


async def _follow_mode(connection: AsyncConnection, dialog_id: int, mode: Mode, now: datetime) -> None:
    """Without `auto` nothing that nobody has looked at goes out. `off` and `shadow` also withdraw what waits for the owner, `off`
    what is due as well."""
    if mode != "auto":
        await silence.hold(connection, silence.SWITCHED, dialog_id=dialog_id)
    for channel in CHANNELS if mode in ("off", "shadow") else ():
        if mode == "off":
            await due.drop(connection, channel, dialog_id)
        await supersede(connection, channel, dialog_id, SWITCHED_OFF, now)


async def expire(connection: AsyncConnection, settings: Settings, now: datetime) -> list[int]:
    """Expire what nobody decided on in time; returns the ids."""
    old = await drafts.pending_created_before(connection, now - timedelta(hours=settings.bot.expire_hours))
    for draft in old:
        await drafts.change(connection, draft, state="expired", reason=TIMED_OUT, settled_at=now, another_due_at=None)
        await prompts.close(connection, draft.id, now)
    return [draft.id for draft in old]


# --- drafting -----------------------------------------------------------------------------------------------------------


async def next_job(connection: AsyncConnection) -> Job | None:
    """What is to be generated first; `at` may lie ahead."""
    reply, variant = await due.first(connection), await drafts.another_due(connection)
    jobs = [Job(reply.channel, reply.dialog_id, reply.due_at, due=reply)] if reply else []
    if variant and variant.another_due_at:
        jobs.append(Job(variant.channel, variant.dialog_id, variant.another_due_at, draft=variant))
    return min(jobs, key=lambda job: job.at, default=None)


async def held_back_until(connection: AsyncConnection, job: Job, settings: Settings, now: datetime) -> datetime | None:
    """When this contact may have a draft again, if the limit of the hour is used up; the due row is moved there."""
    if job.due is None or job.dialog_id == settings.owner.id:
        return None
    made = await drafts.created_since(connection, job.channel, job.dialog_id, now - timedelta(hours=1))
    if len(made) < settings.bot.drafts_per_hour:
        return None
    free_at = made[-settings.bot.drafts_per_hour] + timedelta(hours=1, seconds=1)
    await due.move(connection, job.due, free_at, attempts=job.due.attempts, failing_since=job.due.failing_since)
    return free_at


async def prompt(connection: AsyncConnection, job: Job, settings: Settings) -> tuple[Turn, ...]:
    """What to ask the engine. Empty if there is nothing to answer (any more): the job is dropped then."""
    dialog = await dialogs.get(connection, job.dialog_id)
    own = job.dialog_id == settings.owner.id
    turns: tuple[Turn, ...] = ()
    if dialog and (own or await modes.effective(connection, dialog, settings) == "approve"):
        history = await messages.history(connection, job.dialog_id, newest=HISTORY)
        answered = await drafts.answered_id(connection, job.channel, job.dialog_id)
        history = answered_first(history, job.channel, answered)
        contact = "a friend" if own else dialog.name
        turns = live_prompt(history, settings.owner.name, contact, settings.dataset.gap_hours * 3600)
    if not turns:
        if job.due:
            await due.take(connection, job.due)
        elif job.draft:
            await drafts.change(connection, job.draft, another_due_at=None)
    return turns


async def propose(connection: AsyncConnection, job: Job, generated: Generated, now: datetime) -> Draft | None:
    """Turn generated text into a pending draft, or into the next variant of one. None if it is out of date already."""
    text = fit_draft(generated.text)
    words = {"text": text, "adapter": generated.adapter, "mean_logprob": generated.mean_logprob}
    if job.draft:
        fresh = {**words, "author": "twin", "reason": None, "variant": job.draft.variant + 1, "another_due_at": None}
        return await drafts.get(connection, job.draft.id) if await drafts.change(connection, job.draft, **fresh) else None
    if not (job.due and await due.take(connection, job.due)):
        return None
    return await _add(connection, job, now, text=text, adapter=generated.adapter, mean_logprob=generated.mean_logprob)


async def _add(
    connection: AsyncConnection, job: Job, now: datetime, *, text: str, adapter: str | None, mean_logprob: float | None, reason: str = ""
) -> Draft:
    return await drafts.add(
        connection,
        channel=job.channel,
        dialog_id=job.dialog_id,
        answers_message_id=await messages.newest_id(connection, job.channel, job.dialog_id),
        text=text,
        adapter=adapter,
        mean_logprob=mean_logprob,
        reason=reason or None,
        at=now,
    )


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
                await _add(connection, job, now, text="", adapter=None, mean_logprob=None, reason=error.what)
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


def answered_burst(history: Sequence[Message], draft: Draft) -> list[Message]:
    """The contact's messages that a draft answers: those since the last answer, up to the one it knew of."""
    known = [m for m in history if m.channel == draft.channel and (m.out or m.message_id <= draft.answers_message_id)]
    while known and known[-1].out:
        known.pop()
    runs = bursts(known)
    return runs[-1] if runs and not runs[-1][0].out else []
