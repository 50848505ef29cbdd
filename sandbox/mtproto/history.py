"""Reading messages: history, search, by id."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from telethon.tl import functions, types

from sandbox.mtproto import peers
from sandbox.mtproto.rpc import Call, Handler, RpcError
from sandbox.mtproto.views import Column, Slice
from sandbox.world import Message

# What a search filter lets through, by Media.kind.
FILTER_KINDS = {
    types.InputMessagesFilterPhotos: {"photo"},
    types.InputMessagesFilterVideo: {"video"},
    types.InputMessagesFilterPhotoVideo: {"photo", "video"},
    types.InputMessagesFilterDocument: {"document"},
    types.InputMessagesFilterGif: {"animation"},
    types.InputMessagesFilterVoice: {"voice"},
    types.InputMessagesFilterMusic: {"audio"},
    types.InputMessagesFilterRoundVideo: {"video_note"},
    types.InputMessagesFilterRoundVoice: {"voice", "video_note"},
    types.InputMessagesFilterContacts: {"contact"},
    types.InputMessagesFilterGeo: {"location", "venue"},
    types.InputMessagesFilterPoll: {"poll"},
}


def timestamp(date: datetime | int | None) -> int:
    """Unix seconds. Telethon writes a missing date as 0 and reads it back as 1970: both mean "none" here, 0."""
    return int(date.timestamp()) if isinstance(date, datetime) else date or 0


def get_history(call: Call, request: Any) -> Any:
    chat_id = peers.resolve(call, request.peer)
    column = call.server.views.column(call.account.id, chat_id)
    return _answer(call, chat_id, column, _slice(request, timestamp(request.offset_date)))


def search(call: Call, request: Any) -> Any:
    """messages.search: words by prefix, one sender, a media filter, dates."""
    chat_id = peers.resolve(call, request.peer)
    wanted = _matcher(call, request)
    whole = call.server.views.column(call.account.id, chat_id)
    found = Column()
    for message, message_id in zip(whole.messages, whole.ids, strict=True):
        if wanted(message):
            found.append(message, message_id)
    return _answer(call, chat_id, found, _slice(request, 0))


def _matcher(call: Call, request: Any) -> Any:
    words = re.findall(r"\w+", request.q.lower())
    sender = None if request.from_id is None else peers.resolve(call, request.from_id)
    first, last = timestamp(request.min_date), timestamp(request.max_date)
    kinds: set[str] | None = None
    if not isinstance(request.filter, types.InputMessagesFilterEmpty):
        if type(request.filter) not in FILTER_KINDS:
            raise RpcError(400, "INPUT_FILTER_INVALID")
        kinds = FILTER_KINDS[type(request.filter)]

    def matches(message: Message) -> bool:
        if message.service is not None or (sender is not None and message.sender_id != sender):
            return False
        if (first and message.date < first) or (last and message.date > last):
            return False
        if kinds is not None and (message.media is None or message.media.kind not in kinds):
            return False
        text = re.findall(r"\w+", message.text.lower()) if words else []
        return all(any(word.startswith(prefix) for word in text) for prefix in words)

    return matches


def _slice(request: Any, offset_date: int) -> Slice:
    if request.limit < 0:
        raise RpcError(400, "LIMIT_INVALID")
    return Slice(request.offset_id, offset_date, request.add_offset, request.limit, request.max_id, request.min_id)


def _answer(call: Call, chat_id: int, column: Column, cut: Slice) -> Any:
    page = column.page(cut)
    return messages(call, page, total=len(column.ids), chat_id=chat_id)


def messages(call: Call, page: Sequence[Message], *, total: int, chat_id: int) -> Any:
    """The page as Telegram wraps it: messages.messages only if this is all there is, else a slice with the total."""
    viewer = call.account.id
    cast = peers.Cast(call.world, viewer)
    cast.add(chat_id)
    for message in page:
        cast.add_message(message)
    rendered = [call.server.renderer.render(m, viewer) for m in page]
    if peers.is_channel(call.world, chat_id):
        pts = call.server.updates.pts(chat_id)
        return types.messages.ChannelMessages(pts, total, rendered, [], cast.chats(), cast.users())
    if len(page) == total:
        return types.messages.Messages(rendered, [], cast.chats(), cast.users())
    return types.messages.MessagesSlice(total, rendered, [], cast.chats(), cast.users())


def get_messages(call: Call, request: Any) -> Any:
    """By id in the account's own box: private chats and basic groups. Ids that are not there are messageEmpty."""
    return _by_id(call, call.account.id, request.id)


def get_channel_messages(call: Call, request: Any) -> Any:
    return _by_id(call, peers.resolve(call, request.channel), request.id)


def _by_id(call: Call, box: int, wanted: Iterable[Any]) -> Any:
    viewer = call.account.id
    cast = peers.Cast(call.world, viewer)
    found: list[Any] = []
    for given in wanted:
        message_id = given if isinstance(given, int) else getattr(given, "id", 0)
        message = call.world.in_box(box, message_id)
        if isinstance(given, types.InputMessageReplyTo):
            message = call.world.messages.get(message.reply_to) if message and message.reply_to else None
        if message is None:
            found.append(types.MessageEmpty(id=message_id, peer_id=None))
            continue
        cast.add_message(message)
        found.append(call.server.renderer.render(message, viewer))
    if peers.is_channel(call.world, box):
        cast.add(box)
        return types.messages.ChannelMessages(call.server.updates.pts(box), len(found), found, [], cast.chats(), cast.users())
    return types.messages.Messages(found, [], cast.chats(), cast.users())


def get_split_ranges(call: Call, _request: Any) -> list[Any]:
    """How a takeout should page the account's messages: one range is enough here."""
    return [types.MessageRange(1, 2**31 - 1)]


METHODS: dict[type, Handler] = {
    functions.messages.GetHistoryRequest: get_history,
    functions.messages.SearchRequest: search,
    functions.messages.GetMessagesRequest: get_messages,
    functions.channels.GetMessagesRequest: get_channel_messages,
    functions.messages.GetSplitRangesRequest: get_split_ranges,
}
