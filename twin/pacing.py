"""When the next bubbles of an answer go, once one of them has arrived. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from twin.store.outbox import Bubble


@dataclass(frozen=True)
class Times:
    bubble_id: int
    not_before_at: datetime
    typing_at: datetime | None


def after(sent: Bubble, rest: Sequence[Bubble], bubble_seconds: float, now: datetime) -> list[Times]:
    """The next bubble waits its pause, as planned or as set, and the ones after it move along. "typing..." is shown meanwhile.

    `rest` are the bubbles of the answer that still wait, in order."""
    if not rest:
        return []
    following = rest[0]
    pause = timedelta(seconds=bubble_seconds)
    planned_at = following.not_before_at
    if planned_at and sent.not_before_at:
        pause = max(pause, planned_at - sent.not_before_at)
    goes_at = now + pause
    typed_for = planned_at - following.typing_at if planned_at and following.typing_at else pause
    times = [Times(following.id, goes_at, goes_at - min(typed_for, pause))]
    if planned_at:
        late = goes_at - planned_at
        times += [Times(b.id, b.not_before_at + late, b.typing_at and b.typing_at + late) for b in rest[1:] if b.not_before_at]
    return times
