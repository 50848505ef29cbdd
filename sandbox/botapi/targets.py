"""Who a call is about: its chat, its business connection, its message."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.botapi import shapes
from sandbox.botapi.door import Door
from sandbox.botapi.errors import ApiError, bad_request
from sandbox.botapi.params import Params, to_int
from sandbox.world import Account, BusinessConnection, Group, Message


@dataclass(frozen=True)
class Target:
    sender_id: int  # the bot, or the owner of the connection
    to: int  # account or group id
    box: int  # whose message ids count
    chat_id: int  # as the call names it
    connection: BusinessConnection | None = None


def read_target(door: Door, bot: Account, params: Params, *, right: str | None = "can_reply") -> Target:
    """The chat of `chat_id`, behind `business_connection_id` if there is one, if the bot may act there now.

    `right` is the business right that the method needs. Errors: chat not found, 403 for a bot that was never written to, was
    blocked, or is no member, and those of business connections.
    """
    if "chat_id" not in params:
        raise bad_request("chat_id is empty")
    chat_id = to_int(params.values["chat_id"])
    if chat_id is None:  # a name: only public groups and channels are found by theirs, and no world has one
        raise bad_request("chat not found")
    if "business_connection_id" in params:
        return _behind(door, find_connection(door, bot, params), chat_id, right)
    if chat_id < 0:
        group = find_group(door, chat_id)
        if bot.id not in group.members:
            kind = shapes.group_chat(group)["type"]
            raise ApiError(403, f"Forbidden: bot is not a member of the {kind} chat")
        return Target(bot.id, group.id, bot.id if group.kind == "basic_group" else group.id, chat_id)
    account = door.world.accounts.get(chat_id)
    if account is None:
        raise bad_request("chat not found")
    if account.is_bot:
        raise ApiError(403, "Forbidden: bot can't send messages to bots")
    if account.deleted:
        raise ApiError(403, "Forbidden: user is deactivated")
    if not door.has_met(bot.id, chat_id):
        raise ApiError(403, "Forbidden: bot can't initiate conversation with a user")
    if bot.id in account.blocked:
        raise ApiError(403, "Forbidden: bot was blocked by the user")
    return Target(bot.id, chat_id, bot.id, chat_id)


def find_group(door: Door, chat_id: int) -> Group:
    for group in door.world.groups.values():
        if shapes.group_chat_id(group) == chat_id:
            return group
    raise bad_request("chat not found")


def find_connection(door: Door, bot: Account, params: Params) -> BusinessConnection:
    made = door.world.connections.get(params.text("business_connection_id"))
    if made is None or made.bot_id != bot.id:
        raise bad_request("business connection not found")
    return made


def target_chat(door: Door, target: Target) -> frozenset[int] | int:
    return target.to if target.to in door.world.groups else frozenset((target.sender_id, target.to))


def find_message(door: Door, target: Target, params: Params, missing: str, name: str = "message_id") -> Message:
    """The message with that id in the target's chat; `missing` words the refusal."""
    if name not in params:
        raise bad_request("message identifier is not specified")
    message = door.world.in_box(target.box, params.integer(name))
    if message is None or message.chat != target_chat(door, target):
        raise bad_request(missing)
    return message


def _behind(door: Door, made: BusinessConnection, chat_id: int, right: str | None) -> Target:
    world = door.world
    if not made.enabled:
        raise bad_request("BUSINESS_CONNECTION_INVALID")
    if right is not None and not made.rights.get(right):
        raise ApiError(403, "Forbidden: BOT_ACCESS_FORBIDDEN")
    account = world.accounts.get(chat_id)
    if account is None or account.is_bot or chat_id == made.account_id or not world.history(made.account_id, chat_id):
        raise bad_request("BUSINESS_PEER_INVALID")
    if right == "can_reply" and not world.can_reply(made, chat_id):
        raise bad_request("BUSINESS_PEER_USAGE_MISSING")
    return Target(made.account_id, chat_id, made.account_id, chat_id, made)
