"""What all methods of the Bot API share: the world, the faults, and what the door itself remembers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox.botapi.files import Files
from sandbox.botapi.inbox import Inbox
from sandbox.botapi.limits import RateLimiter, RateLimits
from sandbox.botapi.params import Params
from sandbox.botapi.webhook import Webhook
from sandbox.faults import Faults
from sandbox.world import Account, World


@dataclass
class Door:
    world: World
    faults: Faults
    perform: Callable[[Account, str, Params], Awaitable[None]]  # runs a method by name
    limits: RateLimits | None = None
    webhook_retry_seconds: float = 1.0
    files: Files = field(default_factory=Files)
    profile: dict[tuple[int, str], Any] = field(default_factory=dict)  # what setMy... methods keep: (bot id, which) -> value
    webhooks: dict[int, Webhook] = field(default_factory=dict)  # by bot id
    _inboxes: dict[int, Inbox] = field(default_factory=dict)
    _limiters: dict[int, RateLimiter] = field(default_factory=dict)
    _met: set[tuple[int, int]] = field(default_factory=set)  # (bot id, account id)

    def inbox(self, bot_id: int) -> Inbox:
        if bot_id not in self._inboxes:
            self._inboxes[bot_id] = Inbox(self.world.clock, self.faults)
        return self._inboxes[bot_id]

    def spend(self, bot_id: int, chat_id: int) -> None:
        """Count one send against the rate limits, if there are any. Errors: 429."""
        if self.limits is not None:
            limiter = self._limiters.setdefault(bot_id, RateLimiter(self.limits))
            limiter.spend(chat_id, self.world.clock())

    def has_met(self, bot_id: int, account_id: int) -> bool:
        """Whether this account ever wrote to the bot, so that the bot may write to it. It stays so if the messages go."""
        if (bot_id, account_id) not in self._met and any(m.sender_id == account_id for m in self.world.history(bot_id, account_id)):
            self._met.add((bot_id, account_id))
        return (bot_id, account_id) in self._met


Method = Callable[[Door, Account, Params], Any]  # the result, or an awaitable of it; refusals are ApiError and WorldError


@dataclass(frozen=True)
class Described:
    """A result with the "description" that a few methods add beside it."""

    result: Any
    description: str
