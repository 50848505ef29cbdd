"""Writing: send, edit, delete, forward, read marks, typing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from telethon.tl import functions, types

from sandbox.mtproto import entities, peers
from sandbox.mtproto.files import media_of
from sandbox.mtproto.rpc import Call, Handler, RpcError
from sandbox.mtproto.updates import ACTION_NAMES
from sandbox.world import Media, Message, WorldError

EDIT_SECONDS = 48 * 3600


def send_message(call: Call, request: Any) -> Any:
    return _send(call, request, request.message, None)


def send_media(call: Call, request: Any) -> Any:
    return _send(call, request, request.message, media_of(call, request.media))


def _send(call: Call, request: Any, text: str, media: Media | None) -> Any:
    chat_id = peers.resolve(call, request.peer)
    _refuse_if_blocking(call, chat_id)
    sent, fresh = _put(
        call,
        chat_id,
        text,
        request.random_id,
        media=media,
        entities=entities.from_tl(request.entities),
        reply_to=_answered(call, chat_id, request.reply_to),
    )
    return _sent_answer(call, chat_id, [sent], [request.random_id], fresh=fresh)


def _put(call: Call, chat_id: int, text: str, random_id: int, **fields: Any) -> tuple[Message, bool]:
    """Send once. A repeated random_id gives the first message again, or 500 RANDOM_ID_DUPLICATE: Telegram does both."""
    if not random_id:
        raise RpcError(400, "RANDOM_ID_EMPTY")
    try:
        with call.server.updates.caused_by(call.session):
            return call.world.send(call.account.id, chat_id, text, random_id=random_id, **fields), True
    except WorldError as error:
        if error.code != "RANDOM_ID_DUPLICATE":
            raise
        if call.server.duplicate_random_id == "error":
            raise RpcError(500, "RANDOM_ID_DUPLICATE") from None
        first: Message = error.details["message"]
        return first, False


def _refuse_if_blocking(call: Call, chat_id: int) -> None:
    if chat_id in call.account.blocked:
        raise RpcError(400, "YOU_BLOCKED_USER")
    group = call.world.groups.get(chat_id)
    if group and group.kind == "channel":
        raise RpcError(403, "CHAT_WRITE_FORBIDDEN")
    account = call.world.accounts.get(chat_id)
    if account and account.deleted:
        raise RpcError(400, "INPUT_USER_DEACTIVATED")


def _answered(call: Call, chat_id: int, reply_to: Any) -> int | None:
    """The uid of the message that this one replies to; an id that is not there is ignored, as Telegram does."""
    if not isinstance(reply_to, types.InputReplyToMessage):
        return None
    box = peers.box_of(call.world, call.account.id, chat_id)
    message = call.world.in_box(box, reply_to.reply_to_msg_id)
    return message.uid if message else None


def _sent_answer(call: Call, chat_id: int, sent: Sequence[Message], random_ids: Iterable[int], *, fresh: bool) -> Any:
    """The short form for one new plain text in a private chat, else the updates in full."""
    me = call.account.id
    last = sent[-1]
    if fresh and len(sent) == 1 and chat_id in call.world.accounts and chat_id != me and last.media is None and last.forwarded_from is None:
        return types.UpdateShortSentMessage(
            call.server.renderer.id_for(last, me),
            call.server.updates.pts_of(me, last),
            1,
            last.date,
            out=True,
            entities=entities.to_tl(last.entities) or None,
        )
    channel = peers.is_channel(call.world, chat_id)
    kind = types.UpdateNewChannelMessage if channel else types.UpdateNewMessage
    box = peers.box_of(call.world, me, chat_id)
    cast = peers.Cast(call.world, me)
    news: list[Any] = []
    for message, random_id in zip(sent, random_ids, strict=True):
        cast.add_message(message)
        news.append(types.UpdateMessageID(call.server.renderer.id_for(message, me), random_id))
        pts = call.server.updates.pts_of(box, message) if fresh else call.server.updates.pts(box)
        news.append(kind(call.server.renderer.render(message, me), pts, int(fresh)))
    return types.Updates(news, cast.users(), cast.chats(), call.server.now(), 0)


def forward_messages(call: Call, request: Any) -> Any:
    source, chat_id = peers.resolve(call, request.from_peer), peers.resolve(call, request.to_peer)
    _refuse_if_blocking(call, chat_id)
    box = peers.box_of(call.world, call.account.id, source)
    originals = [call.world.in_box(box, i) for i in request.id]
    sent, fresh = [], True
    for original, random_id in zip(originals, request.random_id, strict=True):
        if original is None:
            raise RpcError(400, "MESSAGE_ID_INVALID")
        author = original.sender_id if original.forwarded_from is None else original.forwarded_from
        message, fresh = _put(
            call,
            chat_id,
            original.text,
            random_id,
            media=original.media,
            entities=original.entities,
            forwarded_from=None if request.drop_author else author,
        )
        sent.append(message)
    return _sent_answer(call, chat_id, sent, request.random_id, fresh=fresh)


def edit_message(call: Call, request: Any) -> Any:
    me, chat_id = call.account.id, peers.resolve(call, request.peer)
    box = peers.box_of(call.world, me, chat_id)
    message = call.world.in_box(box, request.id)
    if message is None or message.service is not None or peers.chat_of(message, me) != chat_id:
        raise RpcError(400, "MESSAGE_ID_INVALID")
    if message.sender_id != me:
        raise RpcError(403, "MESSAGE_AUTHOR_REQUIRED")
    if call.world.clock() - message.date > EDIT_SECONDS and chat_id != me:
        raise RpcError(400, "MESSAGE_EDIT_TIME_EXPIRED")
    with call.server.updates.caused_by(call.session):
        call.world.edit(message, text=request.message, entities=entities.from_tl(request.entities), reply_markup=message.reply_markup)
    cast = peers.Cast(call.world, me)
    cast.add_message(message)
    kind = types.UpdateEditChannelMessage if peers.is_channel(call.world, chat_id) else types.UpdateEditMessage
    update = kind(call.server.renderer.render(message, me), call.server.updates.pts_of(box, message), 1)
    return types.Updates([update], cast.users(), cast.chats(), call.server.now(), 0)


def delete_messages(call: Call, request: Any) -> Any:
    """For both sides. Only-for-me (`revoke=False`) is refused: the world has one copy of a private message."""
    me = call.account.id
    messages = [m for i in request.id if (m := call.world.in_box(me, i))]
    if not request.revoke and any(m.chat != frozenset((me,)) for m in messages):
        call.server.unhandled.append("DeleteMessages without revoke")
        raise RpcError(400, "MESSAGE_DELETE_FORBIDDEN")
    if any(isinstance(m.chat, int) and m.sender_id != me for m in messages):
        raise RpcError(403, "MESSAGE_DELETE_FORBIDDEN")
    return _delete(call, me, messages)


def delete_channel_messages(call: Call, request: Any) -> Any:
    box = peers.resolve(call, request.channel)
    messages = [m for i in request.id if (m := call.world.in_box(box, i))]
    if any(m.sender_id != call.account.id for m in messages):
        raise RpcError(403, "MESSAGE_DELETE_FORBIDDEN")
    return _delete(call, box, messages)


def _delete(call: Call, box: int, messages: Sequence[Message]) -> Any:
    with call.server.updates.caused_by(call.session):
        call.world.delete(messages)
    return types.messages.AffectedMessages(call.server.updates.pts(box), len(messages))


def delete_history(call: Call, request: Any) -> Any:
    me, chat_id = call.account.id, peers.resolve(call, request.peer)
    if not request.revoke and chat_id != me:
        call.server.unhandled.append("DeleteHistory without revoke")
        raise RpcError(400, "MESSAGE_DELETE_FORBIDDEN")
    column = call.server.views.column(me, chat_id)
    messages = [m for m, i in zip(column.messages, column.ids, strict=True) if not request.max_id or i <= request.max_id]
    with call.server.updates.caused_by(call.session):
        call.world.delete(messages)
    return types.messages.AffectedHistory(call.server.updates.pts(me), len(messages), 0)


def read_history(call: Call, request: Any) -> Any:
    me, chat_id = call.account.id, peers.resolve(call, request.peer)
    before = call.server.updates.pts(me)
    ids = call.server.views.column(me, chat_id).ids
    if ids:
        with call.server.updates.caused_by(call.session):
            call.world.read(me, chat_id, min(request.max_id or ids[-1], ids[-1]))
    after = call.server.updates.pts(me)
    return types.messages.AffectedMessages(after, after - before)


def read_channel_history(call: Call, request: Any) -> bool:
    call.world.read(call.account.id, peers.resolve(call, request.channel), request.max_id)
    return True


def set_typing(call: Call, request: Any) -> bool:
    call.world.typing(call.account.id, peers.resolve(call, request.peer), ACTION_NAMES.get(type(request.action), "typing"))
    return True


METHODS: dict[type, Handler] = {
    functions.messages.SendMessageRequest: send_message,
    functions.messages.SendMediaRequest: send_media,
    functions.messages.ForwardMessagesRequest: forward_messages,
    functions.messages.EditMessageRequest: edit_message,
    functions.messages.DeleteMessagesRequest: delete_messages,
    functions.channels.DeleteMessagesRequest: delete_channel_messages,
    functions.messages.DeleteHistoryRequest: delete_history,
    functions.messages.ReadHistoryRequest: read_history,
    functions.channels.ReadHistoryRequest: read_channel_history,
    functions.messages.SetTypingRequest: set_typing,
}
