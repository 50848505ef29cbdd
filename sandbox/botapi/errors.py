"""What a caller is told when Telegram refuses: code, description, parameters. Texts are Telegram's own.

Unverified against the real server, for want of an account: the answers to a disabled connection and to a missing right.
"""

from __future__ import annotations

from typing import Any

from sandbox.world import WorldError

NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a current content "
    "and reply markup of the message"
)
CONFLICT_POLLER = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
CONFLICT_SET_WEBHOOK = "Conflict: terminated by setWebhook request"
CONFLICT_WEBHOOK = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"

FROM_WORLD = {
    "MESSAGE_EMPTY": (400, "Bad Request: message text is empty"),
    "MESSAGE_TOO_LONG": (400, "Bad Request: message is too long"),
    "MESSAGE_NOT_MODIFIED": (400, f"Bad Request: {NOT_MODIFIED}"),
    "PEER_ID_INVALID": (400, "Bad Request: chat not found"),
    "USER_IS_BLOCKED": (403, "Forbidden: bot was blocked by the user"),
    "QUERY_ID_INVALID": (400, "Bad Request: query is too old and response timeout expired or query ID is invalid"),
}


class ApiError(Exception):
    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"ok": False, "error_code": self.code, "description": self.description}
        if self.parameters:
            body["parameters"] = self.parameters
        return body


def bad_request(what: str) -> ApiError:
    return ApiError(400, f"Bad Request: {what}")


def too_many_requests(retry_after: int) -> ApiError:
    return ApiError(429, f"Too Many Requests: retry after {retry_after}", retry_after=retry_after)


def from_world(error: WorldError) -> ApiError:
    code, description = FROM_WORLD.get(error.code, (400, f"Bad Request: {error.code}"))
    return ApiError(code, description)
