"""The Bot API door of the sandbox."""

from sandbox.botapi.limits import RateLimits
from sandbox.botapi.server import BotApi, Call

__all__ = ["BotApi", "Call", "RateLimits"]
