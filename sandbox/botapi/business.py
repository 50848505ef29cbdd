"""Methods that only business connections have. Sending through one is sendMessage with business_connection_id."""

from __future__ import annotations

from typing import Any

from sandbox.botapi import shapes
from sandbox.botapi.door import Door, Method
from sandbox.botapi.errors import ApiError, bad_request
from sandbox.botapi.params import Params, to_int
from sandbox.botapi.targets import find_connection, find_message, read_target
from sandbox.world import Account


def get_business_connection(door: Door, bot: Account, params: Params) -> Any:
    return shapes.connection(door, find_connection(door, bot, params))


def read_business_message(door: Door, bot: Account, params: Params) -> bool:
    target = read_target(door, bot, params, right="can_read_messages")
    if target.connection is None:
        raise bad_request("business connection not found")
    message = find_message(door, target, params, "message not found")
    door.world.read(target.sender_id, target.to, message.ids[target.box])
    return True


def delete_business_messages(door: Door, bot: Account, params: Params) -> bool:
    """Own messages with the right can_delete_sent_messages, all with can_delete_all_messages."""
    made = find_connection(door, bot, params)
    if not made.enabled:
        raise bad_request("BUSINESS_CONNECTION_INVALID")
    found = [door.world.in_box(made.account_id, to_int(i) or 0) for i in params.array("message_ids") or []]
    messages = [m for m in found if m is not None]
    if len(messages) != len(found) or not messages:
        raise bad_request("message to delete not found")
    own = all(m.sender_business_bot_id == bot.id for m in messages)
    if not made.rights.get("can_delete_all_messages") and not (own and made.rights.get("can_delete_sent_messages")):
        raise ApiError(403, "Forbidden: BOT_ACCESS_FORBIDDEN")
    door.world.delete(messages)
    return True


METHODS: dict[str, Method] = {
    "getBusinessConnection": get_business_connection,
    "readBusinessMessage": read_business_message,
    "deleteBusinessMessages": delete_business_messages,
}
