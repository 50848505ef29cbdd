"""Methods that send, edit and delete messages."""

from __future__ import annotations

from typing import Any

from sandbox.botapi import shapes
from sandbox.botapi.door import Door, Method
from sandbox.botapi.errors import ApiError, bad_request
from sandbox.botapi.formatting import read_text
from sandbox.botapi.keyboards import read_keyboard
from sandbox.botapi.params import Params, to_bool, to_int
from sandbox.botapi.spans import Entity
from sandbox.botapi.targets import Target, find_message, read_target, target_chat
from sandbox.world import MAX_TEXT, Account, Media, Message

MAX_CAPTION = 1024
DELETABLE_SECONDS = 48 * 3600
UPLOADS = ("photo", "video", "voice", "video_note", "document")
ACTIONS = frozenset({"typing", "choose_sticker", "find_location"} | {f"{does}_{what}" for does in ("record", "upload") for what in UPLOADS})


def read_message_text(door: Door, params: Params) -> tuple[str, list[Entity]]:
    text, entities = read_text(params, "text", limit=MAX_TEXT, too_long="message is too long")
    if not text:
        raise bad_request("message text is empty")
    return text, known_entities(door, entities)


def read_caption(door: Door, params: Params) -> tuple[str, list[Entity]]:
    text, entities = read_text(params, "caption", limit=MAX_CAPTION, too_long="message caption is too long")
    return text, known_entities(door, entities)


def known_entities(door: Door, entities: list[Entity]) -> list[Entity]:
    """Without mentions of accounts that do not exist."""
    return [e for e in entities if e["type"] != "text_mention" or to_int(e.get("user", {}).get("id")) in door.world.accounts]


def send_message(door: Door, bot: Account, params: Params) -> Any:
    text, entities = read_message_text(door, params)
    return post(door, bot, params, text, entities)


def post(door: Door, bot: Account, params: Params, text: str, entities: list[Entity], media: Media | None = None) -> Any:
    """Put a message into the call's chat and answer with it. Everything is checked before anything happens."""
    keyboard = read_keyboard(params)
    target = read_target(door, bot, params)
    reply_to = _replied_uid(door, target, params)
    door.spend(bot.id, target.chat_id)
    sent = door.world.send(
        target.sender_id,
        target.to,
        text,
        entities=entities,
        media=media,
        reply_to=reply_to,
        reply_markup=keyboard,
        connection=target.connection,
        thread_id=params.integer("message_thread_id") if "message_thread_id" in params else None,
    )
    return show(door, bot, target, sent)


def show(door: Door, bot: Account, target: Target, message: Message) -> shapes.Json:
    return shapes.message(door, message, bot_id=bot.id, box=target.sender_id)


def _replied_uid(door: Door, target: Target, params: Params) -> int | None:
    reply = params.object("reply_parameters") or {}
    if "message_id" not in reply and "reply_to_message_id" in params:  # the older parameters, still taken
        reply = {"message_id": params.integer("reply_to_message_id")}
        reply["allow_sending_without_reply"] = params.boolean("allow_sending_without_reply")
    if "message_id" not in reply:
        return None
    try:
        return find_message(door, target, Params(reply), "message to be replied not found").uid
    except ApiError:
        if to_bool(reply.get("allow_sending_without_reply")):
            return None
        raise


def find_own(door: Door, bot: Account, params: Params) -> tuple[Target, Message]:
    """The message to edit. A bot edits its own; through a connection also what the owner wrote by hand."""
    if "inline_message_id" in params:
        raise bad_request("MESSAGE_ID_INVALID")
    target = read_target(door, bot, params)
    message = find_message(door, target, params, "message to edit not found")
    if message.sender_id != target.sender_id or message.service is not None or message.forwarded_from is not None:
        raise bad_request("message can't be edited")
    return target, message


def edit_message_text(door: Door, bot: Account, params: Params) -> Any:
    text, entities = read_message_text(door, params)
    keyboard = read_keyboard(params)
    target, message = find_own(door, bot, params)
    if message.media is not None:
        raise bad_request("there is no text in the message to edit")
    door.world.edit(message, text=text, entities=entities, reply_markup=keyboard)
    return show(door, bot, target, message)


def edit_message_caption(door: Door, bot: Account, params: Params) -> Any:
    text, entities = read_caption(door, params)
    keyboard = read_keyboard(params)
    target, message = find_own(door, bot, params)
    if message.media is None:
        raise bad_request("there is no caption in the message to edit")
    door.world.edit(message, text=text, entities=entities, reply_markup=keyboard)
    return show(door, bot, target, message)


def edit_message_reply_markup(door: Door, bot: Account, params: Params) -> Any:
    keyboard = read_keyboard(params)
    target, message = find_own(door, bot, params)
    door.world.edit(message, reply_markup=keyboard)
    return show(door, bot, target, message)


def delete_message(door: Door, bot: Account, params: Params) -> bool:
    target = read_target(door, bot, params, right=None)
    message = find_message(door, target, params, "message to delete not found")
    if refusal := _undeletable(door, target, message):
        raise bad_request(refusal)
    door.world.delete([message])
    return True


def delete_messages(door: Door, bot: Account, params: Params) -> bool:
    """Deletes what can be found and deleted; "if some of the specified messages can't be found, they are skipped"."""
    ids = params.array("message_ids")
    if not ids:
        raise bad_request("message identifiers are not specified")
    if len(ids) > 100:
        raise bad_request("too many message identifiers specified")
    target = read_target(door, bot, params, right=None)
    found = [door.world.in_box(target.box, to_int(i) or 0) for i in ids]
    chat = target_chat(door, target)
    door.world.delete([m for m in found if m and m.chat == chat and not _undeletable(door, target, m)])
    return True


def _undeletable(door: Door, target: Target, message: Message) -> str | None:
    """Why not: a bot deletes its own messages and, in private chats, incoming ones, within 48 hours."""
    if isinstance(message.chat, int) and message.sender_id != target.sender_id:
        return "message can't be deleted"
    if door.world.clock() - message.date > DELETABLE_SECONDS:
        return "message can't be deleted for everyone"
    return None


def send_chat_action(door: Door, bot: Account, params: Params) -> bool:
    action = params.text("action").lower()
    if action not in ACTIONS:
        raise bad_request("wrong parameter action in request")
    target = read_target(door, bot, params)
    door.world.typing(target.sender_id, target.to, action)
    return True


def send_message_draft(door: Door, bot: Account, params: Params) -> bool:
    """Show a text that is still being written. Only in private chats with the bot itself."""
    if not params.integer("draft_id"):
        raise bad_request("DRAFT_ID_INVALID")
    text, _ = read_text(params, "text", limit=MAX_TEXT, too_long="message is too long")
    target = read_target(door, bot, Params({"chat_id": params.values.get("chat_id")}))
    if target.to in door.world.groups:
        raise bad_request("TEXTDRAFT_PEER_INVALID")
    door.world.stream_draft(bot.id, target.to, params.integer("draft_id"), text)
    return True


def set_message_reaction(door: Door, bot: Account, params: Params) -> bool:
    target = read_target(door, bot, params)
    message = find_message(door, target, params, "message to react not found")
    emoji = [r["emoji"] for r in params.array("reaction") or [] if isinstance(r, dict) and r.get("emoji")]
    door.world.react(target.sender_id, message, emoji[:1])
    return True


def answer_callback_query(door: Door, bot: Account, params: Params) -> bool:
    press = door.world.presses.get(params.text("callback_query_id"))
    if press is not None and bot.id not in (press.message.sender_id, press.message.sender_business_bot_id):
        raise bad_request("query is too old and response timeout expired or query ID is invalid")
    text = params.text("text")
    if len(text) > 200:
        raise bad_request("MESSAGE_TOO_LONG")
    door.world.answer_press(params.text("callback_query_id"), text, params.boolean("show_alert"))
    return True


METHODS: dict[str, Method] = {
    "sendMessage": send_message,
    "editMessageText": edit_message_text,
    "editMessageCaption": edit_message_caption,
    "editMessageReplyMarkup": edit_message_reply_markup,
    "deleteMessage": delete_message,
    "deleteMessages": delete_messages,
    "sendChatAction": send_chat_action,
    "sendMessageDraft": send_message_draft,
    "setMessageReaction": set_message_reaction,
    "answerCallbackQuery": answer_callback_query,
}
