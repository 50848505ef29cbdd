"""The Bot API door of the sandbox: https://core.telegram.org/bots/api over HTTP, in front of one `World`.

server     routes, faults, the call log             inbox     updates waiting for one bot; long poll
feed       world events to updates                  webhook   delivery by POST
messages, media, business, profile, updates         the methods, each with its table METHODS
targets    which chat, connection, message          keyboards, formatting, params   what a call carries
shapes     world objects as the API writes them     html, markdown, markdown_legacy, spans   text with entities
"""

from sandbox.botapi.limits import RateLimits
from sandbox.botapi.server import BotApi, Call

__all__ = ["BotApi", "Call", "RateLimits"]
