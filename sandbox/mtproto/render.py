"""Messages as one account sees them, in TL, serialised once and kept.

Keeping the bytes, and making those of plain texts from a template, lets a client read 50,000 messages in about a second.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import replace
from typing import Any

from telethon.tl import TLObject, types

from sandbox.mtproto import entities, media, peers
from sandbox.mtproto.rpc import Serialised
from sandbox.world import Deleted, Edited, Event, Message, Reacted, World


def _is_plain(message: Message) -> bool:
    return isinstance(message.chat, frozenset) and not (
        message.service is not None
        or message.entities
        or message.media
        or message.reply_markup
        or message.reply_to
        or message.edit_date
        or message.forwarded_from
        or message.sender_business_bot_id
        or message.reactions
        or message.unattended
    )


def _garbled(written: bytes, message: Message) -> bytes:
    """A message as a client that is too old for it, or a connection gone wrong, would find it."""
    return b"\xef\xbe\xad\xde" + written[4:] if message.garbled == "constructor" else written[:8]


class Renderer:
    def __init__(self, world: World) -> None:
        self._world = world
        self._kept: dict[int, dict[int, Serialised]] = {}  # uid -> viewer -> bytes
        self._templates: dict[tuple[int, int, bool], tuple[bytes, bytes]] = {}  # (viewer, other, sent by viewer)
        self._gone: dict[int, dict[int, int]] = {}  # uid of a deleted message -> the ids it had: replies keep pointing at it
        world.subscribe(self._on_event)

    def _on_event(self, event: Event) -> None:
        match event:
            case Edited() | Reacted():
                self._kept.pop(event.message.uid, None)
            case Deleted():
                for message in event.messages:
                    self._kept.pop(message.uid, None)
                    self._gone[message.uid] = message.ids

    def render(self, message: Message, viewer_id: int) -> Serialised:
        try:
            return self._kept[message.uid][viewer_id]
        except KeyError:
            written = self._plain(message, viewer_id) if _is_plain(message) else bytes(self._build(message, viewer_id))
            built = Serialised(_garbled(written, message) if message.garbled else written)
            self._kept.setdefault(message.uid, {})[viewer_id] = built
            return built

    def _plain(self, message: Message, viewer_id: int) -> bytes:
        """A private message of nothing but text. All of one side's share every field but the id, the date and the text."""
        key = (viewer_id, message.other(viewer_id), message.sender_id == viewer_id)
        template = self._templates.get(key)
        if template is None:
            blank = replace(message, text="", date=0, ids=dict.fromkeys(message.ids, 0))
            # constructor, flags, flags2 | id | peers | date | empty text
            whole = bytes(self._build(blank, viewer_id))
            template = self._templates[key] = (whole[:12], whole[16:-8])
        head, middle = template
        numbers = (struct.pack("<i", message.ids[viewer_id]), middle, struct.pack("<I", message.date))
        return b"".join((head, *numbers, TLObject.serialize_bytes(message.text)))

    def id_for(self, message: Message, viewer_id: int) -> int:
        return message.ids[peers.box_of(self._world, viewer_id, peers.chat_of(message, viewer_id))]

    def _build(self, message: Message, viewer_id: int) -> Any:
        chat_id = peers.chat_of(message, viewer_id)
        mine = message.sender_id == viewer_id
        broadcast = chat_id in self._world.groups and self._world.groups[chat_id].kind == "channel"
        common = {
            "id": self.id_for(message, viewer_id),
            "peer_id": peers.peer(self._world, chat_id),
            "date": message.date,
            # To oneself is not "out", and only what could be ambiguous carries from_id, as Telegram does it.
            "out": (mine and chat_id != viewer_id and not broadcast) or None,
            "from_id": types.PeerUser(message.sender_id) if self._has_from_id(message, mine, broadcast) else None,
            "post": broadcast or None,
            "reply_to": self._reply_header(message, viewer_id),
        }
        if message.service is not None:
            return types.MessageService(action=self._action(message), **common)
        return types.Message(
            message=message.text,
            entities=entities.to_tl(message.entities) or None,
            media=media.message_media(message, message.media, self._world.accounts.get(message.sender_id)) if message.media else None,
            reply_markup=entities.keyboard(message.reply_markup) if message.reply_markup else None,
            edit_date=message.edit_date,
            fwd_from=self._forward_header(message),
            via_business_bot_id=message.sender_business_bot_id,
            offline=message.unattended or None,
            reactions=self._reactions(message, viewer_id) if message.reactions else None,
            **common,
        )

    @staticmethod
    def _has_from_id(message: Message, mine: bool, broadcast: bool) -> bool:
        return not broadcast if isinstance(message.chat, int) else mine

    def _forward_header(self, message: Message) -> Any:
        if message.forwarded_from is None:
            return None
        return types.MessageFwdHeader(message.date, from_id=types.PeerUser(message.forwarded_from))

    def _reply_header(self, message: Message, viewer_id: int) -> Any:
        if message.reply_to is None:
            return None
        answered = self._world.messages.get(message.reply_to)
        ids = answered.ids if answered else self._gone.get(message.reply_to, {})
        chat_id = peers.chat_of(message, viewer_id)
        answered_id = ids.get(peers.box_of(self._world, viewer_id, chat_id))
        return types.MessageReplyHeader(reply_to_msg_id=answered_id) if answered_id else None

    @staticmethod
    def _reactions(message: Message, viewer_id: int) -> Any:
        counts = Counter(emoji for chosen in message.reactions.values() for emoji in chosen)
        mine = message.reactions.get(viewer_id, ())
        return types.MessageReactions(
            [types.ReactionCount(types.ReactionEmoji(e), n, chosen_order=mine.index(e) if e in mine else None) for e, n in counts.items()]
        )

    def _action(self, message: Message) -> Any:
        match message.service:
            case "history_clear":
                return types.MessageActionHistoryClear()
            case "phone_call":
                return types.MessageActionPhoneCall(message.uid, reason=types.PhoneCallDiscardReasonHangup(), duration=60)
            case "pin":
                return types.MessageActionPinMessage()
            case "contact_sign_up":
                return types.MessageActionContactSignUp()
            case "screenshot":
                return types.MessageActionScreenshotTaken()
            case _:
                return types.MessageActionCustomAction(message.text or message.service or "")
