"""What the owner does with a draft: send, edit, another (shorter, warmer), skip, undo, auto from now on; and with an automatic
answer: take it back. At most one answer goes out for each.

Every function works inside the caller's transaction, looks at the draft's state there, and says what came of it. A tap
carries the variant that its card showed, so that nobody sends a text that he has not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from twin import modes, replies, sending
from twin.replies import SUPERSEDED, supersede
from twin.said import cleaned
from twin.settings import Settings
from twin.store import dialogs, drafts, due, messages, outbox, prompts
from twin.store.drafts import Draft, Wish
from twin.turns import join_bubbles, split_bubbles
from twin.utf16 import pieces

MAX_BUBBLE = 4096  # UTF-16 units, https://core.telegram.org/bots/api#sendmessage

What = Literal[
    "done",
    "unknown",  # there is no such draft
    "decided",  # it was decided on before, or has expired: see its state
    "outdated",  # the card shows another variant than the draft has now
    "wordless",  # there is nothing to send
    "exhausted",  # no more variants
    "late",  # too late to take it back
    "renewed",  # a newer message came in while the owner typed: the words wait on a new card
]


@dataclass(frozen=True)
class Verdict:
    what: What
    draft: Draft | None = None


async def send(connection: AsyncConnection, draft_id: int, now: datetime, *, variant: int | None = None) -> Verdict:
    """Approve a draft as it stands; its bubbles are in the outbox when the transaction ends. One that an earlier version wrote may hold
    what no person says: then its card shows it anew, without that, and nothing goes before the owner has seen it so."""
    draft, refusal = await _open(connection, draft_id, variant)
    if refusal or not draft:
        return refusal or Verdict("unknown")
    if draft.author == "twin" and (fit := cleaned(draft.text)) != draft.text:
        await drafts.change(connection, draft, text=fit)
        return Verdict("outdated", draft)
    bubbles = to_bubbles(split_bubbles(draft.text))
    if not bubbles:
        return Verdict("wordless", draft)
    return await _approve(connection, draft, bubbles, now, edited=False)


async def look(connection: AsyncConnection, draft_id: int, *, variant: int) -> Verdict:
    """Whether this draft can be decided on: before the owner is asked for his words, or whether he is sure."""
    draft, refusal = await _open(connection, draft_id, variant)
    return refusal or Verdict("done", draft)


async def edit(connection: AsyncConnection, draft_id: int, text: str, now: datetime) -> Verdict:
    """Send what the owner typed, one bubble a line, as typed.

    If a newer message of the contact came in meanwhile, the words are not sent past it: they become a new pending draft.
    """
    draft = await _known(connection, draft_id)
    if draft is None:
        return Verdict("unknown")
    bubbles = to_bubbles(text.split("\n"))
    if not bubbles:
        return Verdict("wordless", draft)
    if draft.state == "pending":
        return await _approve(connection, draft, bubbles, now, edited=True)
    await prompts.close(connection, draft.id, now)
    if draft.state != "expired" or draft.reason != SUPERSEDED:
        return Verdict("decided", draft)
    return Verdict("renewed", await _renew(connection, draft, join_bubbles(bubbles), now))


async def another(
    connection: AsyncConnection, draft_id: int, settings: Settings, now: datetime, *, variant: int, wish: Wish = "another"
) -> Verdict:
    """Ask for one more variant. Asking twice for the same one is asking once."""
    draft, refusal = await _open(connection, draft_id, variant)
    if refusal or not draft:
        return refusal or Verdict("unknown")
    if draft.variant >= settings.bot.max_variants:
        return Verdict("exhausted", draft)
    if draft.another_due_at is None:
        await drafts.decide(connection, draft, wish, now)
        await drafts.change(connection, draft, another_due_at=now, wish=wish)
    return Verdict("done", draft)


async def skip(connection: AsyncConnection, draft_id: int, now: datetime, *, variant: int) -> Verdict:
    """No answer to this."""
    draft, refusal = await _open(connection, draft_id, variant)
    if refusal or not draft:
        return refusal or Verdict("unknown")
    await drafts.decide(connection, draft, "skip", now)
    await drafts.change(connection, draft, state="rejected", settled_at=now, another_due_at=None)
    await prompts.close(connection, draft.id, now)
    return Verdict("done", draft)


async def undo(connection: AsyncConnection, draft_id: int, settings: Settings, now: datetime) -> Verdict:
    """Bring a skipped draft back, while nothing newer came and it has not expired."""
    draft = await _known(connection, draft_id)
    if draft is None:
        return Verdict("unknown")
    if draft.state == "pending":
        return Verdict("done", draft)
    expired = draft.created_at <= now - timedelta(hours=settings.bot.expire_hours)
    if expired or not await is_undoable(connection, draft):
        return Verdict("decided", draft)
    await drafts.decide(connection, draft, "undo", now)
    await drafts.change(connection, draft, state="pending", settled_at=None)
    return Verdict("done", draft)


async def is_undoable(connection: AsyncConnection, draft: Draft) -> bool:
    """A skipped draft may come back while nothing happened in its dialog since."""
    if draft.state != "rejected" or await due.get(connection, draft.channel, draft.dialog_id):
        return False
    newest = await drafts.newest(connection, draft.channel, draft.dialog_id)
    newer = await messages.newest_id(connection, draft.channel, draft.dialog_id)
    return newest is not None and newest.id == draft.id and newer <= draft.answers_message_id


async def trust(connection: AsyncConnection, draft_id: int, settings: Settings, now: datetime, *, variant: int) -> Verdict:
    """[Auto from now on]: send this draft, and let the answers after it go by themselves. Nothing changes if it cannot be sent."""
    verdict = await send(connection, draft_id, now, variant=variant)
    if verdict.what == "done" and verdict.draft:
        await replies.set_mode(connection, verdict.draft.dialog_id, "auto", settings, now)
    return verdict


async def distrust(connection: AsyncConnection, draft_id: int, settings: Settings, now: datetime) -> Verdict:
    """[Stop auto here]: this draft's contact is on approve from now on; answers that have not begun become cards.

    A contact who is not on auto any more stays as he is: an old card must not switch somebody on who was switched off."""
    draft = await _known(connection, draft_id)
    if draft is None:
        return Verdict("unknown")
    if await modes.effective(connection, await dialogs.get(connection, draft.dialog_id), settings) == "auto":
        await replies.set_mode(connection, draft.dialog_id, "approve", settings, now)
    fresh = await drafts.get(connection, draft_id)
    if fresh:
        await drafts.change(connection, fresh)  # its card loses the button
    return Verdict("done", fresh)


async def take_back(connection: AsyncConnection, draft_id: int, now: datetime) -> Verdict:
    """Undo an automatic answer, once and while there is time: what has not gone is cancelled, what has is deleted for both sides."""
    draft = await _known(connection, draft_id)
    if draft is None:
        return Verdict("unknown")
    if draft.state not in ("approved", "sending", "sent") or not draft.is_automatic:
        return Verdict("decided", draft)
    if draft.undo_until is None or now > draft.undo_until:
        return Verdict("late", draft)
    await drafts.decide(connection, draft, "undo", now)
    await sending.retract(connection, draft, now)
    return Verdict("done", await drafts.get(connection, draft_id))


async def show_card_again(connection: AsyncConnection, draft_id: int) -> Verdict:
    """[No]: the card goes back to its own buttons."""
    draft = await _known(connection, draft_id)
    if draft:
        await drafts.change(connection, draft)
    return Verdict("done", draft) if draft else Verdict("unknown")


async def approve_own(connection: AsyncConnection, draft: Draft, now: datetime) -> bool:
    """Let an answer to the owner himself go out: no card, no decision. False if there is nothing to say."""
    bubbles = to_bubbles(split_bubbles(draft.text))
    if not bubbles:
        await drafts.change(connection, draft, state="expired", reason="no words", settled_at=now)
        return False
    await drafts.change(connection, draft, state="approved", settled_at=now)
    await outbox.add(connection, draft, bubbles)
    return True


def to_bubbles(lines: list[str]) -> list[str]:
    """Messages that Telegram takes: none blank, none too long."""
    return [piece for line in lines for piece in pieces(line, MAX_BUBBLE)]


async def _known(connection: AsyncConnection, draft_id: int) -> Draft | None:
    """The draft, if the owner may know of it: a shadow draft is never shown, so nothing can be done with it."""
    draft = await drafts.get(connection, draft_id)
    return None if draft is None or draft.mode == "shadow" else draft


async def _open(connection: AsyncConnection, draft_id: int, variant: int | None) -> tuple[Draft | None, Verdict | None]:
    """The draft if it can be decided on, else why not."""
    draft = await _known(connection, draft_id)
    if draft is None:
        return None, Verdict("unknown")
    if draft.state != "pending":
        return draft, Verdict("decided", draft)
    if variant is not None and variant != draft.variant:
        return draft, Verdict("outdated", draft)
    return draft, None


async def _approve(connection: AsyncConnection, draft: Draft, bubbles: list[str], now: datetime, *, edited: bool) -> Verdict:
    await drafts.decide(connection, draft, "edit" if edited else "send", now, final_text=join_bubbles(bubbles))
    state = "edited" if edited else "approved"
    await drafts.change(connection, draft, state=state, reason=None, settled_at=now, another_due_at=None, is_automatic=False)
    await prompts.close(connection, draft.id, now)
    await outbox.forget_cancelled(connection, draft.id)
    await outbox.add(connection, draft, bubbles)
    return Verdict("done", draft)


async def _renew(connection: AsyncConnection, old: Draft, text: str, now: datetime) -> Draft:
    await supersede(connection, old.channel, old.dialog_id, SUPERSEDED, now)
    await due.drop(connection, old.channel, old.dialog_id)
    newest = await messages.newest_id(connection, old.channel, old.dialog_id)
    row = {"channel": old.channel, "dialog_id": old.dialog_id, "answers_message_id": newest}
    return await drafts.add(connection, **row, text=text, author="owner", at=now)  # type: ignore[arg-type]
