"""The bot's own card: getMe, command menus, name and descriptions; and what it may know of chats."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from sandbox.botapi import shapes
from sandbox.botapi.door import Door, Method
from sandbox.botapi.errors import bad_request
from sandbox.botapi.params import Params, to_int
from sandbox.botapi.targets import find_group
from sandbox.world import Account

COMMAND = re.compile(r"/?([a-z0-9_]{1,32})")
TEXTS = {"Name": ("name", 64), "Description": ("description", 512), "ShortDescription": ("short_description", 120)}
EVERYBODY = ("default", "all_private_chats")  # scopes that a private chat without a menu of its own shows, last first


def get_me(door: Door, bot: Account, params: Params) -> Any:
    return shapes.me(bot)


def set_my_commands(door: Door, bot: Account, params: Params) -> bool:
    commands = [_command(c) for c in params.array("commands") or []]
    if len(commands) > 100:
        raise bad_request("BOT_COMMANDS_TOO_MUCH")
    scope = _scope(params)
    key = (bot.id, _commands_key(scope, params))
    if commands:
        door.profile[key] = commands
    else:
        door.profile.pop(key, None)
    if not params.text("language_code"):
        _show_menu(door, bot, scope)
    return True


def delete_my_commands(door: Door, bot: Account, params: Params) -> bool:
    return set_my_commands(door, bot, Params({**params.values, "commands": []}))


def get_my_commands(door: Door, bot: Account, params: Params) -> Any:
    found = door.profile.get((bot.id, _commands_key(_scope(params), params)), [])
    return [{"command": name, "description": description} for name, description in found]


def _command(given: Any) -> tuple[str, str]:
    name = COMMAND.fullmatch(str(given.get("command", ""))) if isinstance(given, dict) else None
    if name is None:
        raise bad_request("BOT_COMMAND_INVALID")
    description = str(given.get("description") or "")
    if not 1 <= len(description) <= 256:
        raise bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
    return name[1], description


def _scope(params: Params) -> dict[str, Any]:
    scope = params.object("scope") or {"type": "default"}
    if scope.get("type") == "chat":
        scope["chat_id"] = to_int(scope.get("chat_id"))
        if scope["chat_id"] is None:
            raise bad_request("chat not found")
    return scope


def _commands_key(scope: dict[str, Any], params: Params) -> str:
    return f"commands {json.dumps(scope, sort_keys=True)} {params.text('language_code')}"


def _show_menu(door: Door, bot: Account, scope: dict[str, Any]) -> None:
    """Tell the world what a private chat with the bot now offers."""
    if scope["type"] == "chat" and scope["chat_id"] in door.world.accounts:
        own = door.profile.get((bot.id, _commands_key(scope, Params({}))), [])
        door.world.set_commands(bot.id, own, scope["chat_id"])
    elif scope["type"] in EVERYBODY:
        menus = [door.profile.get((bot.id, _commands_key({"type": name}, Params({})))) for name in EVERYBODY]
        door.world.set_commands(bot.id, menus[1] or menus[0] or [])


def set_my_text(door: Door, bot: Account, params: Params, *, which: str) -> bool:
    name, limit = TEXTS[which]
    text = params.text(name)
    if len(text) > limit:
        raise bad_request(f"BOT_{name.upper()}_INVALID")
    door.profile[bot.id, f"{which} {params.text('language_code')}"] = text
    return True


def get_my_text(door: Door, bot: Account, params: Params, *, which: str) -> Any:
    name, _ = TEXTS[which]
    default = bot.first_name if which == "Name" else ""
    return {name: door.profile.get((bot.id, f"{which} {params.text('language_code')}")) or default}


def get_chat(door: Door, bot: Account, params: Params) -> Any:
    """A chat that the bot can see: its groups, who wrote to it, and who wrote to an owner that it is connected to."""
    chat_id = to_int(params.values.get("chat_id"))
    if chat_id is None:
        raise bad_request("chat not found")
    more: dict[str, Any] = {"accent_color_id": abs(chat_id) % 7, "max_reaction_count": 11}
    more["accepted_gift_types"] = dict.fromkeys(
        ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels"), False
    )
    if chat_id < 0:
        group = find_group(door, chat_id)
        if bot.id not in group.members:
            raise bad_request("chat not found")
        return shapes.group_chat(group) | more
    account = door.world.accounts.get(chat_id)
    owners = [c.account_id for c in door.world.connections.values() if c.bot_id == bot.id and c.enabled]
    seen = account and (door.has_met(bot.id, chat_id) or any(door.world.history(owner, chat_id) for owner in owners))
    if account is None or not seen:
        raise bad_request("chat not found")
    return shapes.private_chat(account) | more


def leave_chat(door: Door, bot: Account, params: Params) -> bool:
    group = find_group(door, params.integer("chat_id"))
    if bot.id not in group.members:
        raise bad_request("chat not found")
    door.world.leave(group.id, bot.id, by_id=bot.id)
    return True


METHODS: dict[str, Method] = {
    "getMe": get_me,
    "setMyCommands": set_my_commands,
    "getMyCommands": get_my_commands,
    "deleteMyCommands": delete_my_commands,
    "getChat": get_chat,
    "leaveChat": leave_chat,
    **{f"setMy{which}": partial(set_my_text, which=which) for which in TEXTS},
    **{f"getMy{which}": partial(get_my_text, which=which) for which in TEXTS},
}
