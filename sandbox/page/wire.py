"""The JSON forms of the world, as the page and scripts see them.

A message is the same for everyone: ids of accounts say who stands where, and `uid` names it. Secrets (bot tokens, 2FA
passwords) never get here; file contents are fetched from `/api/media/{uid}`.
"""

from __future__ import annotations

from typing import Any

from sandbox.world import (
    Account,
    BlockChanged,
    BusinessConnection,
    CommandsSet,
    ConnectionChanged,
    Deleted,
    DraftStreamed,
    Edited,
    Event,
    Group,
    Media,
    MemberChanged,
    Message,
    PressAnswered,
    Pressed,
    Reacted,
    Read,
    Sent,
    Typing,
    World,
)

Json = dict[str, Any]


def account_json(account: Account) -> Json:
    return {
        "id": account.id,
        "name": "Deleted account" if account.deleted else " ".join(part for part in (account.first_name, account.last_name) if part),
        "username": account.username,
        "phone": account.phone,
        "is_bot": account.is_bot,
        "blocked": sorted(account.blocked),
    }


def group_json(group: Group) -> Json:
    return {"id": group.id, "name": group.title, "kind": group.kind, "members": sorted(group.members)}


def connection_json(connection: BusinessConnection) -> Json:
    return {
        "id": connection.id,
        "account": connection.account_id,
        "bot": connection.bot_id,
        "date": connection.date,
        "enabled": connection.enabled,
        "rights": dict(connection.rights),
    }


def commands_json(commands: tuple[tuple[str, str], ...]) -> list[Json]:
    return [{"command": command, "description": description} for command, description in commands]


def message_json(message: Message) -> Json:
    return {
        "uid": message.uid,
        "chat": [message.chat] if isinstance(message.chat, int) else sorted(message.chat),
        "from": message.sender_id,
        "text": message.text,
        "entities": message.entities,
        "date": message.date,
        "edit_date": message.edit_date,
        "media": media_json(message.media, message.uid) if message.media else None,
        "reply_to": message.reply_to,
        "forwarded_from": message.forwarded_from,
        "keyboard": (message.reply_markup or {}).get("inline_keyboard", []),
        "via_bot": message.sender_business_bot_id,
        "connection": message.business_connection_id,
        "service": message.service,
        "reactions": {str(account_id): list(emoji) for account_id, emoji in message.reactions.items()},
        "ids": {str(box): message_id for box, message_id in message.ids.items()},
    }


def media_json(media: Media, uid: int) -> Json:
    return {
        "kind": media.kind,
        "url": f"/api/media/{uid}",
        "mime_type": media.mime_type,
        "file_name": media.file_name,
        "size": len(media.content),
        "emoji": media.emoji,
        "width": media.width,
        "height": media.height,
        "duration": media.duration,
    }


def event_json(event: Event, world: World) -> Json:
    """What `/api/events` says about an event."""
    match event:
        case Sent(message):
            return {"type": "sent", "message": message_json(message)}
        case Edited(message):
            return {"type": "edited", "message": message_json(message)}
        case Deleted(messages):
            return {"type": "deleted", "messages": [{"uid": m.uid, "chat": message_json(m)["chat"]} for m in messages]}
        case Typing(sender_id, receiver_id, action):
            return {"type": "typing", "from": sender_id, "to": receiver_id, "action": action}
        case Read(reader_id, other_id, max_id):
            return {"type": "read", "reader": reader_id, "other": other_id, "uid": uid_up_to(world, reader_id, other_id, max_id)}
        case Pressed(press):
            return {"type": "pressed", "press": press.id, "account": press.account_id, "uid": press.message.uid, "data": press.data}
        case PressAnswered(press, text, alert):
            about = {"press": press.id, "account": press.account_id, "uid": press.message.uid, "data": press.data}
            return {"type": "answered", **about, "text": text, "alert": alert}
        case ConnectionChanged(connection):
            return {"type": "connection", "connection": connection_json(connection)}
        case CommandsSet(bot_id, commands, account_id):
            return {"type": "commands", "bot": bot_id, "account": account_id, "commands": commands_json(commands)}
        case DraftStreamed(bot_id, account_id, draft_id, text):
            return {"type": "draft", "bot": bot_id, "account": account_id, "draft": draft_id, "text": text}
        case Reacted(account_id, message):
            return {"type": "reacted", "account": account_id, "message": message_json(message)}
        case MemberChanged(group_id, account_id, by_id, joined):
            return {"type": "member", "group": group_json(world.groups[group_id]), "account": account_id, "by": by_id, "joined": joined}
        case BlockChanged(account_id, _, _):
            return {"type": "account", "account": account_json(world.account(account_id))}


def uid_up_to(world: World, reader_id: int, other_id: int, max_id: int) -> int:
    """The newest message of the chat that `max_id` of the reader's box covers; 0 for none."""
    for message in reversed(world.history(reader_id, other_id)):
        if message.ids.get(reader_id, message.ids.get(other_id, 0)) <= max_id:
            return message.uid
    return 0
