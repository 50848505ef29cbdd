"""Shadow: how like the owner's own answer was the draft that never went?

likeness   the cosine of the counts of character trigrams, 0 to 1. Case, punctuation and spelling count as the owner's hand does; the
           ends of a text are marked, so that short texts have trigrams too. 1: the same words; about 0.1: the same language.
"""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise

from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store import comparisons, messages
from twin.store.drafts import Draft
from twin.turns import Message, split_bubbles

BURST = timedelta(minutes=2)  # the owner's messages no further apart than this are one answer
SHADOW = "shadow"  # the reason of a draft that was born expired
TAKEN_OVER = "taken over"


def likeness(draft: str, answer: str) -> float:
    """0 to 1; 0 if either has no words."""
    one, other = _trigrams(draft), _trigrams(answer)
    if not one or not other:
        return 0.0
    shared = sum(count * other[gram] for gram, count in one.items())
    return min(1.0, shared / math.sqrt(_square(one) * _square(other)))


async def compare(connection: AsyncConnection, message: Message, now: datetime) -> float | None:
    """The owner wrote this: measure the newest draft of the dialog that never went against what he has written in this burst.

    Each further message of the burst is counted in. None if there is no draft to compare, or the message has no words."""
    if message.kind != "text" or not message.text.strip():
        return None
    draft = await comparisons.newest_unsent(connection, message.channel, message.dialog_id, (SHADOW, TAKEN_OVER))
    if draft is None:
        return None
    burst = await _burst(connection, draft, message)
    known = await comparisons.get(connection, draft.id)
    if not burst or (known and known.owner_message_ids[0] != burst[0].message_id):
        return None  # it was measured against an earlier answer
    measured = likeness("\n".join(split_bubbles(draft.text)), "\n".join(m.text for m in burst))
    await comparisons.put(connection, draft, measured, [m.message_id for m in burst], now)
    return measured


async def _burst(connection: AsyncConnection, draft: Draft, message: Message) -> list[Message]:
    """The owner's first messages after what the draft answers, up to this one, if no pause parts them."""
    newer = await messages.after(connection, message.channel, message.dialog_id, draft.answers_message_id)
    typed = [m for m in newer if m.out and m.kind == "text" and m.source not in ("twin", "owner") and not m.unattended]
    own = [m for m in typed if m.message_id <= message.message_id]
    for earlier, later in pairwise(own):
        if later.sent_at - earlier.sent_at > BURST:
            return []
    return own


def _trigrams(text: str) -> Counter[str]:
    marked = f"\x02{text.strip()}\x03" if text.strip() else ""
    return Counter(marked[i : i + 3] for i in range(len(marked) - 2))


def _square(grams: Counter[str]) -> int:
    return sum(count * count for count in grams.values())
