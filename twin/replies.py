"""The reply rules: what happens when a contact writes. Knows no Telegram library.

a contact writes ─receive─▶ replies_due ─(burst over)─▶ twin.drafting ─▶ draft ─▶ twin.decisions or twin.automatic

Every function works inside the caller's transaction and may be repeated after a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from twin import modes, sending, silence
from twin.names import clean_name
from twin.settings import Settings
from twin.store import dialogs, drafts, due, messages, prompts
from twin.store.dialogs import Dialog, Mode
from twin.store.drafts import Draft
from twin.turns import Message, last_burst

HISTORY = 200  # newest messages that a prompt is made from; the engine cuts to its own limit in tokens

CHANNELS = ("account", "bot")
SUPERSEDED = "superseded"
TIMED_OUT = "timed out"
SWITCHED_OFF = "switched off"


async def receive(
    connection: AsyncConnection, message: Message, *, name: str, username: str | None, settings: Settings, now: datetime
) -> bool:
    """Keep a contact's message; True if a draft is due for it. What is known already (an update handled twice) changes nothing."""
    dialog = await dialogs.get(connection, message.dialog_id)
    if dialog and dialog.excluded:
        return False
    if not await messages.add(connection, message):
        return False
    if dialog is None or (dialog.name, dialog.username) != (clean_name(name), username):
        await dialogs.save(connection, message.dialog_id, name=name, username=username)
    if message.kind == "service":
        return False
    await supersede(connection, message.channel, message.dialog_id, SUPERSEDED, now)
    # What the twin was about to say by itself did not know of these words.
    await sending.cancel_waiting(connection, message.channel, message.dialog_id, SUPERSEDED, now, only_auto=True)
    if await modes.effective(connection, dialog, settings) == "off":
        return False
    await due.put(connection, message.channel, message.dialog_id, _due_at(dialog, settings, now))
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
    dialog = await dialogs.get(connection, message.dialog_id)
    await due.put(connection, message.channel, message.dialog_id, _due_at(dialog, settings, now))
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
    if rejected := await drafts.newest_rejected(connection, channel, dialog_id):
        await drafts.change(connection, rejected)  # its card loses [Undo]


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


def answered_burst(history: Sequence[Message], draft: Draft) -> list[Message]:
    """The contact's messages that a draft answers: those since the last answer, up to the one it knew of."""
    known = [m for m in history if m.channel == draft.channel and (m.out or m.message_id <= draft.answers_message_id)]
    while known and known[-1].out:
        known.pop()
    burst = last_burst(known)
    return [] if burst and burst[0].out else burst


def _due_at(dialog: Dialog | None, settings: Settings, now: datetime) -> datetime:
    """When the burst will be over; after a takeover not before the end of the silence."""
    over = now + timedelta(seconds=settings.bot.burst_seconds)
    return max(over, dialog.silent_until) if dialog and dialog.silent_until else over
