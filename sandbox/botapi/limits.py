"""Telegram's send limits: about one message a second per chat with bursts tolerated, about 30 a second overall, 20 a minute
per group (Bot FAQ; the exact figures are not published). Off unless asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sandbox.botapi.errors import too_many_requests


@dataclass(frozen=True)
class RateLimits:
    per_chat_seconds: float = 1.0
    per_chat_burst: int = 5
    per_group_seconds: float = 3.0
    per_group_burst: int = 20
    overall_per_second: int = 30


class RateLimiter:
    """Token buckets for one bot; `spend` raises 429 with the seconds to wait, and a refused send costs nothing."""

    def __init__(self, limits: RateLimits) -> None:
        self.limits = limits
        self._buckets: dict[int | None, tuple[float, float]] = {}  # chat (None: overall) -> tokens left, at

    def spend(self, chat_id: int, now: float) -> None:
        limits = self.limits
        if chat_id < 0:
            chat = self._refilled(chat_id, 1 / limits.per_group_seconds, limits.per_group_burst, now)
            chat_rate = 1 / limits.per_group_seconds
        else:
            chat = self._refilled(chat_id, 1 / limits.per_chat_seconds, limits.per_chat_burst, now)
            chat_rate = 1 / limits.per_chat_seconds
        overall = self._refilled(None, limits.overall_per_second, limits.overall_per_second, now)
        wait = max((1 - chat) / chat_rate, (1 - overall) / limits.overall_per_second)
        if wait > 1e-9:
            raise too_many_requests(max(1, math.ceil(wait)))
        self._buckets[chat_id] = (chat - 1, now)
        self._buckets[None] = (overall - 1, now)

    def _refilled(self, key: int | None, rate: float, burst: int, now: float) -> float:
        tokens, at = self._buckets.get(key, (float(burst), now))
        return min(float(burst), tokens + (now - at) * rate)
