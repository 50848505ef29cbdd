"""World events to updates: what each bot gets to see of what happens.

A bot sees its private chats, the groups it is in, and through a business connection the owner's private chats with people.
It never sees other bots' messages, nor its own, except that what it sent through a business connection comes back as an echo.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from sandbox.botapi import shapes
from sandbox.botapi.door import Door
from sandbox.world import (
    BlockChanged,
    BusinessConnection,
    ConnectionChanged,
    Deleted,
    Edited,
    Event,
    MemberChanged,
    Message,
    Press,
    Pressed,
    Sent,
)


def feed(door: Door, event: Event) -> None:
    match event:
        case Sent(message):
            _show(door, message, edited=False)
        case Edited(message):
            _show(door, message, edited=True)
        case Deleted(messages):
            _deleted(door, messages)
        case Pressed(press):
            _pressed(door, press)
        case ConnectionChanged(made):
            door.inbox(made.bot_id).push("business_connection", shapes.connection(door, made))
        case MemberChanged():
            _member_changed(door, event)
        case BlockChanged():
            _block_changed(door, event)
        case _:
            pass  # no update of the Bot API tells of the others


def _show(door: Door, message: Message, *, edited: bool) -> None:
    if message.service is not None:
        return
    world = door.world
    from_bot = world.account(message.sender_id).is_bot
    if isinstance(message.chat, int):
        group = world.groups[message.chat]
        kind = "channel_post" if group.kind == "channel" else "message"
        readers = [] if from_bot else [a for a in sorted(group.members) if world.account(a).is_bot]
    else:
        kind = "message"
        readers = [] if from_bot else [a for a in sorted(message.chat) if world.account(a).is_bot]
    for bot_id in readers:
        door.has_met(bot_id, message.sender_id)
        shape = shapes.message(door, message, bot_id=bot_id, box=bot_id)
        door.inbox(bot_id).push(f"edited_{kind}" if edited else kind, shape)
    for made in _business(door, message):
        shape = shapes.message(door, message, bot_id=made.bot_id, box=made.account_id)
        door.inbox(made.bot_id).push("edited_business_message" if edited else "business_message", shape)


def _business(door: Door, message: Message) -> Iterator[BusinessConnection]:
    """The connections through which this message is seen: those of either side, if both sides are people."""
    if isinstance(message.chat, int) or len(message.chat) < 2 or any(door.world.account(a).is_bot for a in message.chat):
        return
    for account_id in sorted(message.chat):
        made = door.world.connection_of(account_id)
        if made is not None:
            yield made


def _deleted(door: Door, messages: tuple[Message, ...]) -> None:
    together: dict[tuple[str, int], list[Message]] = {}
    for message in messages:
        for made in _business(door, message):
            together.setdefault((made.id, message.other(made.account_id)), []).append(message)
    for (connection_id, other_id), gone in together.items():
        made = door.world.connections[connection_id]
        payload = {
            "business_connection_id": connection_id,
            "chat": shapes.private_chat(door.world.account(other_id)),
            "message_ids": [message.ids[made.account_id] for message in gone],
        }
        door.inbox(made.bot_id).push("deleted_business_messages", payload)


def _pressed(door: Door, press: Press) -> None:
    message = press.message
    bot_id = message.sender_business_bot_id or message.sender_id
    if not door.world.account(bot_id).is_bot:
        return
    box = bot_id if message.sender_business_bot_id is None else message.sender_id
    chat_key = repr(sorted(message.chat) if isinstance(message.chat, frozenset) else message.chat).encode()
    payload = {
        "id": press.id,
        "from": shapes.user(door.world.account(press.account_id)),
        "message": shapes.message(door, message, bot_id=bot_id, box=box),
        "chat_instance": str(int.from_bytes(blake2b(chat_key, digest_size=8).digest(), signed=True)),
        "data": press.data,
    }
    door.inbox(bot_id).push("callback_query", payload)


def _member_changed(door: Door, event: MemberChanged) -> None:
    account = door.world.account(event.account_id)
    if not account.is_bot:
        return
    before, after = ("left", "member") if event.joined else ("member", "left" if event.by_id == event.account_id else "kicked")
    payload = {"chat": shapes.group_chat(door.world.groups[event.group_id]), "from": shapes.user(door.world.account(event.by_id))}
    door.inbox(account.id).push("my_chat_member", payload | _change(door, account.id, before, after))


def _block_changed(door: Door, event: BlockChanged) -> None:
    if not door.world.account(event.blocked_id).is_bot:
        return
    before, after = ("member", "kicked") if event.blocked else ("kicked", "member")
    account = door.world.account(event.account_id)
    payload = {"chat": shapes.private_chat(account), "from": shapes.user(account)}
    door.inbox(event.blocked_id).push("my_chat_member", payload | _change(door, event.blocked_id, before, after))


def _change(door: Door, bot_id: int, before: str, after: str) -> shapes.Json:
    member = shapes.user(door.world.account(bot_id))
    return {
        "date": int(door.world.clock()),
        "old_chat_member": _member(member, before),
        "new_chat_member": _member(member, after),
    }


def _member(user: shapes.Json, status: str) -> shapes.Json:
    return {"user": user, "status": status} | ({"until_date": 0} if status == "kicked" else {})
