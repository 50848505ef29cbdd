"""Text entities and inline keyboards between the Bot API's form (the world's) and TL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from telethon.tl import types

PLAIN = {
    "mention": types.MessageEntityMention,
    "hashtag": types.MessageEntityHashtag,
    "cashtag": types.MessageEntityCashtag,
    "bot_command": types.MessageEntityBotCommand,
    "url": types.MessageEntityUrl,
    "email": types.MessageEntityEmail,
    "phone_number": types.MessageEntityPhone,
    "bold": types.MessageEntityBold,
    "italic": types.MessageEntityItalic,
    "underline": types.MessageEntityUnderline,
    "strikethrough": types.MessageEntityStrike,
    "spoiler": types.MessageEntitySpoiler,
    "code": types.MessageEntityCode,
}
PLAIN_NAMES = {kind: name for name, kind in PLAIN.items()}


def to_tl(entities: Iterable[dict[str, Any]]) -> list[Any]:
    """Entities of a kind that is not known become messageEntityUnknown, as for an old client."""
    return [_entity_to_tl(e, e["offset"], e["length"]) for e in entities]


def _entity_to_tl(entity: dict[str, Any], offset: int, length: int) -> Any:
    match entity["type"]:
        case "blockquote":
            return types.MessageEntityBlockquote(offset, length)
        case "expandable_blockquote":
            return types.MessageEntityBlockquote(offset, length, collapsed=True)
        case "pre":
            return types.MessageEntityPre(offset, length, entity.get("language", ""))
        case "text_link":
            return types.MessageEntityTextUrl(offset, length, entity["url"])
        case "text_mention":
            return types.MessageEntityMentionName(offset, length, entity["user"]["id"])
        case "custom_emoji":
            return types.MessageEntityCustomEmoji(offset, length, int(entity["custom_emoji_id"]))
        case kind if kind in PLAIN:
            return PLAIN[kind](offset, length)
        case _:
            return types.MessageEntityUnknown(offset, length)


def from_tl(entities: Iterable[Any] | None) -> list[dict[str, Any]]:
    """Kinds without a Bot API form are dropped."""
    found = []
    for entity in entities or ():
        if form := _entity_from_tl(entity):
            found.append({**form, "offset": entity.offset, "length": entity.length})
    return found


def _entity_from_tl(entity: Any) -> dict[str, Any] | None:
    match entity:
        case types.MessageEntityBlockquote():
            return {"type": "expandable_blockquote" if entity.collapsed else "blockquote"}
        case types.MessageEntityPre():
            return {"type": "pre", "language": entity.language} if entity.language else {"type": "pre"}
        case types.MessageEntityTextUrl():
            return {"type": "text_link", "url": entity.url}
        case types.MessageEntityMentionName():
            return {"type": "text_mention", "user": {"id": entity.user_id}}
        case types.InputMessageEntityMentionName() if hasattr(entity.user_id, "user_id"):
            return {"type": "text_mention", "user": {"id": entity.user_id.user_id}}
        case types.MessageEntityCustomEmoji():
            return {"type": "custom_emoji", "custom_emoji_id": str(entity.document_id)}
        case _:
            name = PLAIN_NAMES.get(type(entity))
            return {"type": name} if name else None


def keyboard(markup: dict[str, Any]) -> Any:
    """An inline keyboard; None for the other kinds of reply_markup, which the world does not show."""
    rows = markup.get("inline_keyboard")
    if not rows:
        return None
    return types.ReplyInlineMarkup([types.KeyboardInlineButtonRow([_button(b) for b in row]) for row in rows])


def _button(button: dict[str, Any]) -> Any:
    kind: Any
    if "callback_data" in button:
        kind = types.InlineButtonTypeCallback(button["callback_data"].encode())
    elif "url" in button:
        kind = types.InlineButtonTypeUrl(button["url"])
    elif "copy_text" in button:
        kind = types.InlineButtonTypeCopy(button["copy_text"]["text"])
    else:
        kind = types.InlineButtonTypeDisabled()
    return types.KeyboardInlineButton(button["text"], kind)
