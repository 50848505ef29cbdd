"""The rules of the outbox: what a send's outcome means for its bubble, its draft and the owner.

Every function works inside the caller's transaction. What may go at all, and by which way, is in `twin.departures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from twin import pacing
from twin.contacts import label
from twin.settings import Settings
from twin.store import dialogs, drafts, messages, notices, outbox
from twin.store.drafts import Draft
from twin.store.outbox import FINAL, UNSETTLED, Bubble, Way
from twin.turns import Message

ECHO_SECONDS = 10.0  # an echo that has not come by then is not waited for
TAKEN_BACK = "taken back"
KEPT = "it could not be taken back"


async def begin(connection: AsyncConnection, bubble: Bubble, now: datetime, *, way: Way = "bot") -> Bubble | None:
    """Write down that it is being sent, before it is. None if something else has happened to it."""
    if not await outbox.move(connection, bubble, "sending", tried_at=now, error=None, way=way):
        return None
    if bubble.position == 0:
        await drafts.begin_sending(connection, bubble.draft_id)
    return bubble._replace(state="sending", tried_at=now, error=None, way=way)


async def arrived(
    connection: AsyncConnection, bubble: Bubble, *, message_id: int | None, sent_at: datetime, settings: Settings, now: datetime
) -> bool:
    """It is there. The next bubble waits its pause; True if there is one. `message_id` None: it is not known."""
    if not await outbox.move(connection, bubble, "sent", sent_message_id=message_id):
        return False
    draft, is_edited = await drafts.with_edit(connection, bubble.draft_id)
    # Whose words these are: the twin must not learn from its own as if the owner had written them.
    source = "owner" if is_edited or draft.author == "owner" else "twin"
    told = Message(
        channel=bubble.channel,
        dialog_id=bubble.dialog_id,
        message_id=message_id if message_id is not None else -bubble.id,  # Telegram's ids are positive
        out=True,
        sent_at=sent_at,
        text=bubble.text,
        source=source,
    )
    if not await messages.add(connection, told):  # a collection, or a connection, has read it meanwhile
        await messages.save(connection, [told])
        await messages.disown(connection, told.channel, told.dialog_id, told.message_id)
    bubbles = await outbox.of_draft(connection, bubble.draft_id)
    (current,) = (b for b in bubbles if b.id == bubble.id)
    if current.error == TAKEN_BACK:
        await take_back(connection, current, now)
    rest = [b for b in bubbles if b.state == "waiting"]
    undo_until = None
    if draft.undo_until and not rest:  # a flood limit may have used the time up that the owner has to take it back
        undo_until = max(draft.undo_until, now + timedelta(seconds=settings.auto.undo_seconds))
    await settle(connection, draft, bubbles, now, undo_until=undo_until)
    if rest:
        await _show(connection, bubble.draft_id)  # how many have arrived
    for times in pacing.after(bubble, rest, settings.bot.bubble_seconds, now):
        await outbox.change(connection, times.bubble_id, not_before_at=times.not_before_at, typing_at=times.typing_at)
    return bool(rest)


async def wait(connection: AsyncConnection, bubble: Bubble, until: datetime, now: datetime, *, keeps_way: bool = False) -> None:
    """It certainly did not go: try again from `until` on, by whatever way is open then. `keeps_way`: an earlier try may have gone, so
    only the same way may try again."""
    await _drop_unwanted(connection, bubble, now)
    await outbox.move(connection, bubble, "waiting", not_before_at=until, typing_at=None, way=bubble.way if keeps_way else None)


async def doubt(connection: AsyncConnection, bubble: Bubble, settings: Settings, now: datetime, *, seconds: float = 0.0) -> None:
    """Nobody knows whether it went. What that means depends on the way: nothing is ever sent again on a guess.

    session    tried again after `seconds` with the same random_id: Telegram knows whether it has it
    business   its echo is waited for
    bot        the owner is asked; in his own chat with the twin it is tried again: a doubled answer there harms nobody
    """
    if bubble.dialog_id == settings.owner.id:
        await outbox.move(connection, bubble, "waiting", not_before_at=now)
    elif bubble.way == "business" or (bubble.way == "session" and await _unwanted(connection, bubble)):
        patience = ECHO_SECONDS if bubble.way == "business" else 0.0
        await outbox.move(connection, bubble, "unheard", not_before_at=now + timedelta(seconds=patience))
    elif bubble.way == "session":
        await outbox.move(connection, bubble, "waiting", not_before_at=now + timedelta(seconds=seconds))
    else:
        await ask(connection, bubble, now)


async def ask(connection: AsyncConnection, bubble: Bubble, now: datetime) -> None:
    """Only the owner can tell whether it arrived."""
    if await outbox.move(connection, bubble, "uncertain"):
        name = await name_of(connection, bubble)
        question = f"I cannot tell whether this reached {name}: the connection broke. Please look, then choose.\n\n{bubble.text}"
        await notices.add(connection, question, now, outbox_id=bubble.id)
        await _show(connection, bubble.draft_id)


async def missing(connection: AsyncConnection, bubble: Bubble, now: datetime) -> None:
    """Somebody who can read the chat says that it is not there: it goes again, if it is still wanted."""
    await wait(connection, bubble, now, now)
    await _show(connection, bubble.draft_id)


async def fail(connection: AsyncConnection, bubble: Bubble, why: str, settings: Settings, now: datetime) -> None:
    """Telegram refused it: neither it nor the bubbles after it will go, and the owner is told."""
    await _drop_unwanted(connection, bubble, now)
    if not await outbox.move(connection, bubble, "failed", error=why):
        return
    await outbox.fail_rest(connection, bubble, why)
    await _settle(connection, bubble.draft_id, now)
    if bubble.dialog_id != settings.owner.id:
        line = f"Draft {bubble.draft_id} could not be sent to {await name_of(connection, bubble)}: {why}."
        await notices.add(connection, line, now)


async def recover(connection: AsyncConnection, settings: Settings, now: datetime) -> int:
    """At start-up: what was being sent when the process died has an unknown outcome. Returns how many.

    An echo may have come in, or may come with the first poll, so it is waited for from now on."""
    interrupted = await outbox.in_state(connection, "sending")
    for bubble in interrupted:
        await doubt(connection, bubble, settings, now)
    for bubble in await outbox.in_state(connection, "unheard"):
        await outbox.change(connection, bubble.id, not_before_at=now + timedelta(seconds=ECHO_SECONDS))
    return len(interrupted)


async def answer_doubt(
    connection: AsyncConnection, bubble_id: int, tried: int, *, it_arrived: bool, settings: Settings, now: datetime
) -> bool:
    """The owner's word on an uncertain bubble. False if it is no longer in doubt, or in doubt anew: what he saw before `tried` was
    followed by another try says nothing about that one."""
    bubble = await outbox.get(connection, bubble_id)
    if bubble is None or bubble.state != "uncertain" or bubble.try_number != tried:
        return False
    if it_arrived:
        await arrived(connection, bubble, message_id=None, sent_at=bubble.tried_at or now, settings=settings, now=now)
    else:
        await _drop_unwanted(connection, bubble, now)
        await outbox.move(connection, bubble, "waiting", not_before_at=None)
    await _show(connection, bubble.draft_id)
    return True


async def echo(
    connection: AsyncConnection,
    dialog_id: int,
    message_id: int,
    text: str,
    sent_at: datetime,
    *,
    settings: Settings,
    now: datetime,
    way: Way = "business",
) -> bool:
    """Telegram shows a message of the owner's account that came by this way: it settles the one bubble it is. False if it is none of ours.

    In one dialog at most one bubble is in flight, so two of the same text are never confused.
    """
    in_flight = [
        bubble
        for bubble in await outbox.of_dialog(connection, "account", dialog_id, UNSETTLED)
        if bubble.way == way and _same(bubble, text)
    ]
    known = await messages.get(connection, "account", dialog_id, message_id)
    # Somebody else may have read it before its echo came; a second echo, though, settles nothing more.
    if known and not (in_flight and known.source == "twin" and not await outbox.is_recorded(connection, "account", dialog_id, message_id)):
        return known.source in ("twin", "owner")
    for told in await messages.provisional(connection, "account", dialog_id):
        bubble = await outbox.get(connection, -told.message_id)
        if bubble and bubble.way == way and _same(bubble, text):  # the owner had said that it arrived; now its id is known
            await messages.renumber(connection, "account", dialog_id, told.message_id, message_id)
            await outbox.change(connection, bubble.id, sent_message_id=message_id)
            return True
    for bubble in in_flight[:1]:
        await turned_up(connection, bubble, message_id=message_id, sent_at=sent_at, settings=settings, now=now)
    return bool(in_flight)


async def turned_up(
    connection: AsyncConnection, bubble: Bubble, *, message_id: int, sent_at: datetime, settings: Settings, now: datetime
) -> None:
    """A bubble of unknown outcome was seen in its chat; a question about it is withdrawn, or answered if it was asked."""
    await arrived(connection, bubble, message_id=message_id, sent_at=sent_at, settings=settings, now=now)
    if bubble.state == "uncertain" and not await notices.withdraw(connection, bubble.id):
        await notices.add(connection, f"It did reach {await name_of(connection, bubble)}; you need not look.", now)


async def cancel_waiting(
    connection: AsyncConnection, channel: str, dialog_id: int, reason: str, now: datetime, *, only_auto: bool = False
) -> int:
    """What has not gone yet will not go; what is in flight is not tried again. Returns how many bubbles that concerns.

    `only_auto`: only answers that the twin approved by itself. A draft of which something went ends as sent, else as expired,
    with the reason."""
    if only_auto:
        concerned = await outbox.unsettled_automatic(connection, channel, dialog_id)
    else:
        concerned = await outbox.of_dialog(connection, channel, dialog_id, UNSETTLED)
    for bubble in concerned:
        await _withdraw(connection, bubble, reason, now)
    for draft_id in sorted({b.draft_id for b in concerned}):
        await _settle(connection, draft_id, now)
    return len(concerned)


async def retract(connection: AsyncConnection, draft: Draft, now: datetime) -> int:
    """Take an answer back: what waits is cancelled, what was sent is deleted for both sides, what is in flight as soon as it is
    there. Returns how many bubbles that concerns."""
    current = await drafts.of_bubble(connection, draft.id)
    if current.state not in ("approved", "edited", "sending", "sent"):
        return 0
    await drafts.change(connection, current, state="expired", reason=TAKEN_BACK, settled_at=now, undo_until=None)
    concerned = [b for b in await outbox.of_draft(connection, draft.id) if b.state in (*UNSETTLED, "sent")]
    for bubble in concerned:
        if bubble.state == "sent":
            await take_back(connection, bubble, now)
        else:
            await _withdraw(connection, bubble, TAKEN_BACK, now)
    return len(concerned)


async def settle(
    connection: AsyncConnection, draft: Draft, bubbles: Sequence[Bubble], now: datetime, *, undo_until: datetime | None = None
) -> None:
    """A draft on its way ends when all of its bubbles have. `reason` says why not all of it went; `undo_until`, if
    given, until when it can be taken back."""
    if draft.state not in ("approved", "edited", "sending") or any(b.state not in FINAL for b in bubbles):
        return
    states = {b.state for b in bubbles}
    state = "failed" if "failed" in states else "sent" if states & {"sent", "retracted"} else "expired"
    reason = next((b.error for b in bubbles if b.state in ("failed", "cancelled")), None)
    undo = {"undo_until": undo_until} if undo_until else {}
    await drafts.change(connection, draft, state=state, reason=reason, settled_at=now, **undo)


async def take_back(connection: AsyncConnection, bubble: Bubble, now: datetime) -> None:
    """Have a bubble that is there deleted, if it is known which message it is."""
    if bubble.sent_message_id is not None:
        await outbox.move(connection, bubble, "retracting", not_before_at=None)
    else:
        await not_taken_back(connection, bubble, "nobody knows which message it is", now)


async def not_taken_back(connection: AsyncConnection, bubble: Bubble, why: str, now: datetime) -> None:
    """It stays where it is, and the owner is told."""
    await outbox.move(connection, bubble, "sent", error=None)
    draft = await drafts.get(connection, bubble.draft_id)
    if draft and draft.state == "expired":
        await drafts.change(connection, draft, state="sent", reason=KEPT)
    await notices.add(connection, f"I could not take back what went to {await name_of(connection, bubble)}: {why}.", now)


async def retract_later(connection: AsyncConnection, bubble: Bubble, at: datetime) -> None:
    await outbox.move(connection, bubble, "retracting", not_before_at=at)


async def taken_back(connection: AsyncConnection, bubble: Bubble, now: datetime) -> None:
    """It is deleted, for both sides."""
    if await outbox.move(connection, bubble, "retracted") and bubble.sent_message_id is not None:
        await messages.mark_deleted(connection, bubble.channel, bubble.dialog_id, [bubble.sent_message_id], now)
        await _show(connection, bubble.draft_id)


async def name_of(connection: AsyncConnection, bubble: Bubble) -> str:
    dialog = await dialogs.get(connection, bubble.dialog_id)
    return await label(connection, bubble.dialog_id) if dialog and dialog.name else f"contact {bubble.dialog_id}"


async def _withdraw(connection: AsyncConnection, bubble: Bubble, reason: str, now: datetime) -> None:
    """What waits is cancelled, unless it may have gone."""
    if bubble.state != "waiting":
        await outbox.change(connection, bubble.id, error=reason)
    elif bubble.way == "session":  # it may have gone, and repeating it would have been safe
        await outbox.move(connection, bubble, "unheard", error=reason, not_before_at=now)
    else:
        await outbox.move(connection, bubble, "cancelled", error=reason)


async def _unwanted(connection: AsyncConnection, bubble: Bubble) -> str | None:
    """Why it is not to be tried again: it was withdrawn while it was in flight."""
    current = await outbox.get(connection, bubble.id)
    return current.error if current else None


async def _drop_unwanted(connection: AsyncConnection, bubble: Bubble, now: datetime) -> None:
    """What did not go and is not wanted any more is cancelled: whatever would `move` it afterwards finds it in another state."""
    if bubble.state != "waiting" and await _unwanted(connection, bubble) is not None:
        await outbox.move(connection, bubble, "cancelled")
        await _settle(connection, bubble.draft_id, now)


async def _settle(connection: AsyncConnection, draft_id: int, now: datetime) -> None:
    await settle(connection, await drafts.of_bubble(connection, draft_id), await outbox.of_draft(connection, draft_id), now)


async def _show(connection: AsyncConnection, draft_id: int) -> None:
    """On its card; nothing if the chat was forgotten meanwhile."""
    draft = await drafts.get(connection, draft_id)
    if draft:
        await drafts.change(connection, draft)


def _same(bubble: Bubble, text: str) -> bool:
    return bubble.text.strip() == text.strip()
