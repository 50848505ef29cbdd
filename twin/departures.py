"""Which bubbles may go now, and by which way. What is decided here is decided in the transaction that marks a bubble as being sent.

Nothing goes after /pause, nothing that the twin approved by itself goes into a chat where the owner is writing, and nothing goes
into a chat of the owner's account while something that happened there is in the inbox and not handled: it may be the owner.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from twin import sending, silence
from twin.settings import Settings
from twin.store import connections, dialogs, drafts, inbox, outbox
from twin.store.connections import Connection
from twin.store.outbox import Bubble, Way

AHEAD = 50  # dialogs looked at for what is typed and when something begins
HELD_SECONDS = 0.2  # until the inbox is looked at again; whoever empties it rings as well
UNCONNECTED = "I am not connected to your account"
MAY_NOT_REPLY = "my connection to your account does not allow me to reply"

Closed = Mapping[int, Mapping[Way, str]]  # bubble id -> the ways that turned out to be shut for it, and why


@dataclass(frozen=True)
class Outlook:
    """What there is to do. `ready`: may go now, one of each dialog. `lost`: unheard, and their time is up. `typing`: "typing..." is due
    for them. `next_at`: when to look again, if nothing rings before."""

    ready: list[Bubble] = field(default_factory=list)
    lost: list[Bubble] = field(default_factory=list)
    retracting: list[Bubble] = field(default_factory=list)
    typing: list[Bubble] = field(default_factory=list)
    next_at: datetime | None = None


@dataclass(frozen=True)
class Departures:
    """`begun`: marked as being sent. `settled`: others were settled or put off, so there may be more to do at once."""

    outlook: Outlook
    begun: list[Bubble] = field(default_factory=list)
    settled: bool = False


def open_ways(channel: str, made: Connection | None, ways: Collection[Way]) -> list[Way]:
    """The ways into a dialog of this channel, the best one first. `ways` are those that there are at all."""
    if channel == "bot":
        return ["bot"]
    by_bot: list[Way] = ["business"] if made and made.may("can_reply") and "business" in ways else []
    return [*by_bot, "session"] if "session" in ways else by_bot


async def outlook(connection: AsyncConnection, settings: Settings, now: datetime, *, room: int = 1) -> Outlook:
    """Look without touching anything. `room`: how many of what may go now are wanted at most."""
    kinds = await outbox.open_kinds(connection)
    states = {state for _, state in kinds}
    if not states & {"waiting", "unheard", "retracting"}:
        return Outlook()
    only = (settings.owner.id or 0) if await silence.since(connection) else None
    held = await inbox.unheeded(connection) if any(channel == "account" for channel, _ in kinds) else set()
    ready = await outbox.ready(connection, now, limit=room, held=held, only=only) if "waiting" in states else []
    # While more may go than there is room for, something ends before anything else begins.
    later = await outbox.later(connection, now, limit=AHEAD) if "waiting" in states and len(ready) < max(room, 1) else []
    seen = [b for b in later if only in (None, b.dialog_id) and not _is_held(b, held)]
    typing = [b for b in seen if b.typing_at and b.typing_at <= now]
    open_ones = await outbox.in_state(connection, "unheard", "retracting") if states & {"unheard", "retracting"} else []
    unheard = [b for b in open_ones if b.state == "unheard"]
    retracting = [b for b in open_ones if b.state == "retracting"]
    free = [b for b in unheard if not _is_held(b, held)]
    times = [b.typing_at if b.typing_at and b.typing_at > now else b.not_before_at for b in later]
    times += [b.not_before_at for b in (*unheard, *retracting) if not _is_due(b, now)]
    if held is None or (held and (len(free) < len(unheard) or await outbox.ready(connection, now, limit=1, only=only))):
        times.append(now + timedelta(seconds=HELD_SECONDS))
    return Outlook(
        ready=ready,
        lost=[b for b in free if _is_due(b, now)],
        retracting=[b for b in retracting if _is_due(b, now)],
        typing=typing,
        next_at=min((at for at in times if at), default=None),
    )


async def begin_ready(
    connection: AsyncConnection,
    ways: Collection[Way],
    settings: Settings,
    now: datetime,
    *,
    room: int,
    closed: Closed | None = None,
    resting: Collection[Way] = (),
) -> Departures:
    """Look, and mark up to `room` bubbles as being sent; ask for exactly these.

    `resting` ways go nowhere at the moment (no network): what would take one of them waits."""
    found = await outlook(connection, settings, now, room=room + (AHEAD if resting else 0))
    if not found.ready or not room:
        return Departures(found)
    made = await connections.current(connection) if any(b.channel == "account" for b in found.ready) else None
    quiet = await dialogs.silent(connection, now)
    begun: list[Bubble] = []
    settled = False
    for bubble in found.ready:
        if len(begun) == room:
            break
        until = quiet.get(bubble.dialog_id)
        if until and await drafts.went_by_itself(connection, bubble.draft_id):
            await outbox.move(connection, bubble, "waiting", not_before_at=until, typing_at=None)
            settled = True
            continue
        shut = (closed or {}).get(bubble.id, {})
        way = next((w for w in _ways_for(bubble, made, ways) if w not in shut), None)
        if way is None:
            await _give_up(connection, bubble, made, shut, settings, now)
            settled = True
        elif way not in resting and (going := await sending.begin(connection, bubble, now, way=way)):
            begun.append(going)
    return Departures(found, begun, settled)


def _ways_for(bubble: Bubble, made: Connection | None, ways: Collection[Way]) -> list[Way]:
    found = open_ways(bubble.channel, made, ways)
    # It may have gone by the session already, which alone can repeat it safely.
    return [w for w in found if w == "session"] if bubble.way == "session" else found


async def _give_up(
    connection: AsyncConnection, bubble: Bubble, made: Connection | None, shut: Mapping[Way, str], settings: Settings, now: datetime
) -> None:
    if bubble.way == "session":
        await sending.ask(connection, bubble, now)
        return
    why = next(iter(shut.values()), None) or (MAY_NOT_REPLY if made else UNCONNECTED)
    await sending.fail(connection, bubble, why, settings, now)


def _is_held(bubble: Bubble, held: set[int] | None) -> bool:
    return bubble.channel == "account" and (held is None or bubble.dialog_id in held)


def _is_due(bubble: Bubble, now: datetime) -> bool:
    return bubble.not_before_at is None or bubble.not_before_at <= now
