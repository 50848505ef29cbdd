"""World objects as the Bot API writes them, https://core.telegram.org/bots/api#available-types.

A message looks different from each box: `box` says whose. A bot sees its own chats from its own box and business chats from
the box of the connection's owner.
"""

from __future__ import annotations

from typing import Any

from sandbox.botapi.door import Door
from sandbox.botapi.spans import detected
from sandbox.world import Account, BusinessConnection, Group, Media, Message

Json = dict[str, Any]


def user(account: Account) -> Json:
    if account.deleted:
        return {"id": account.id, "is_bot": account.is_bot, "first_name": ""}
    shape: Json = {"id": account.id, "is_bot": account.is_bot, "first_name": account.first_name}
    if account.last_name:
        shape["last_name"] = account.last_name
    if account.username:
        shape["username"] = account.username
    return shape


def me(bot: Account) -> Json:
    return user(bot) | {
        "can_join_groups": True,
        "can_read_all_group_messages": True,
        "supports_inline_queries": False,
        "can_connect_to_business": True,
        "has_main_web_app": False,
    }


def private_chat(account: Account) -> Json:
    shape = user(account)
    del shape["is_bot"]
    return shape | {"type": "private"}


def group_chat_id(group: Group) -> int:
    return -group.id if group.kind == "basic_group" else int(f"-100{group.id}")


def group_chat(group: Group) -> Json:
    kinds = {"basic_group": "group", "group": "supergroup", "channel": "channel"}
    return {"id": group_chat_id(group), "title": group.title, "type": kinds[group.kind]}


def connection(door: Door, made: BusinessConnection) -> Json:
    return {
        "id": made.id,
        "user": user(door.world.account(made.account_id)),
        "user_chat_id": made.account_id,
        "date": made.date,
        "is_enabled": made.enabled,
        "rights": {name: True for name, given in made.rights.items() if given},
    }


def message_id(of: Message, box: int) -> int:
    return of.ids[of.chat if of.chat in of.ids else box]  # a group with ids of its own, or a box


def chat(door: Door, of: Message, box: int) -> Json:
    if isinstance(of.chat, int):
        return group_chat(door.world.groups[of.chat])
    return private_chat(door.world.account(of.other(box)))


def message(door: Door, of: Message, *, bot_id: int, box: int, with_reply: bool = True) -> Json:
    """`bot_id` is the reader (file ids are its own), `box` whose chat it reads."""
    world = door.world
    shape: Json = {"message_id": message_id(of, box), "date": of.date, "chat": chat(door, of, box)}
    if shape["chat"]["type"] == "channel":
        shape["sender_chat"] = shape["chat"]
    else:
        shape["from"] = user(world.account(of.sender_id))
    if box != bot_id:
        made = world.connection_of(box)
        shape["business_connection_id"] = made.id if made else of.business_connection_id
    if of.sender_business_bot_id is not None and box == of.sender_id:
        shape["sender_business_bot"] = user(world.account(of.sender_business_bot_id))
    if of.forwarded_from is not None:
        shape["forward_origin"] = _origin(door, of.forwarded_from, of.date)
    if of.thread_id is not None:
        shape |= {"message_thread_id": of.thread_id, "is_topic_message": True}
        opening = {
            "message_id": of.thread_id,
            "date": of.date,
            "chat": shape["chat"],
            "forum_topic_created": {"name": "Topic", "icon_color": 1},
        }
        shape["reply_to_message"] = opening  # unless it answers another one
    if of.unattended:
        shape["is_from_offline"] = True
    if of.edit_date is not None:
        shape["edit_date"] = of.edit_date
    if with_reply and of.reply_to is not None and (replied := world.messages.get(of.reply_to)):
        shape["reply_to_message"] = message(door, replied, bot_id=bot_id, box=box, with_reply=False)
    if of.media is not None:
        shape[of.media.kind] = media(door, bot_id, of.media)
        if of.media.kind == "animation":  # "for backward compatibility ... the document field will also be set"
            shape["document"] = media(door, bot_id, Media("document", of.media.content, of.media.mime_type, of.media.file_name))
    text_field, entities_field = ("text", "entities") if of.media is None else ("caption", "caption_entities")
    if of.text:
        shape[text_field] = of.text
        if entities := detected(of.text, of.entities):
            shape[entities_field] = [_entity(door, e) for e in entities]
    if of.reply_markup:
        shape["reply_markup"] = of.reply_markup
    return shape


def media(door: Door, bot_id: int, of: Media) -> Any:
    """The object (for a photo: the list of sizes) under the media's own field name."""
    shape: Json = door.files.ids(bot_id, of)
    if of.kind == "photo":
        return [shape | {"width": of.width, "height": of.height}]
    if of.kind == "sticker":
        shape |= {"type": "regular", "width": of.width, "height": of.height, "is_animated": False, "is_video": False}
        return shape | ({"emoji": of.emoji} if of.emoji else {})
    if of.kind == "video_note":
        return shape | {"length": of.width, "duration": of.duration}
    if of.kind in ("video", "animation"):
        shape |= {"width": of.width, "height": of.height}
    if of.kind != "document":
        shape["duration"] = of.duration
    if of.file_name:
        shape["file_name"] = of.file_name
    return shape | {"mime_type": of.mime_type}


def _entity(door: Door, of: Json) -> Json:
    if of["type"] != "text_mention":
        return of
    account_id = int(of["user"]["id"])
    return of | {"user": user(door.world.accounts.get(account_id, Account(account_id, "", deleted=True)))}


def _origin(door: Door, origin_id: int, date: int) -> Json:
    if origin_id in door.world.groups:
        group = door.world.groups[origin_id]
        if group.kind == "channel":
            return {"type": "channel", "date": date, "chat": group_chat(group), "message_id": 1}
        return {"type": "chat", "date": date, "sender_chat": group_chat(group)}
    if origin_id in door.world.accounts:
        return {"type": "user", "date": date, "sender_user": user(door.world.accounts[origin_id])}
    return {"type": "hidden_user", "date": date, "sender_user_name": "Deleted Account"}
