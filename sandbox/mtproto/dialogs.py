"""The list of chats, newest first, in pages. https://core.telegram.org/api/offsets#hash-generation has the paging fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from telethon.tl import functions, types

from sandbox.mtproto import peers
from sandbox.mtproto.history import timestamp
from sandbox.mtproto.rpc import Call, Handler
from sandbox.world import Message

PAGE_LIMIT = 100


class Row(NamedTuple):
    """One dialog. Rows sort by the date of the newest message, then by its id, then by the chat."""

    date: int
    top_id: int
    chat_id: int
    top: Message


def _rows(call: Call) -> list[Row]:
    me = call.account.id
    rows = [_row(call, chat_id) for chat_id in call.world.dialogs(me)]
    return sorted((r for r in rows if r), key=lambda row: row[:3], reverse=True)


def _row(call: Call, chat_id: int) -> Row | None:
    history = call.world.history(call.account.id, chat_id)
    if not history:
        return None
    top = history[-1]
    return Row(top.date, call.server.renderer.id_for(top, call.account.id), chat_id, top)


def get_dialogs(call: Call, request: Any) -> Any:
    """Nothing is archived or pinned, so folder 1 is empty and pinned dialogs come nowhere."""
    rows = [] if request.folder_id else _rows(call)
    total = len(rows)
    if offset_date := timestamp(request.offset_date):
        offset_peer = 0 if isinstance(request.offset_peer, types.InputPeerEmpty) else peers.resolve(call, request.offset_peer)
        offset = (offset_date, request.offset_id, offset_peer)
        rows = [row for row in rows if row[:3] < offset]
    page = rows[: min(request.limit or PAGE_LIMIT, PAGE_LIMIT)]
    parts = _parts(call, page)
    return types.messages.Dialogs(*parts) if len(page) == total else types.messages.DialogsSlice(total, *parts)


def get_peer_dialogs(call: Call, request: Any) -> Any:
    chats = [peers.resolve(call, given.peer) for given in request.peers if isinstance(given, types.InputDialogPeer)]
    rows = [row for chat_id in chats if (row := _row(call, chat_id))]
    return types.messages.PeerDialogs(*_parts(call, rows), call.server.updates.state(call.account.id))


def get_pinned_dialogs(call: Call, _request: Any) -> Any:
    return types.messages.PeerDialogs([], [], [], [], call.server.updates.state(call.account.id))


def _parts(call: Call, rows: Sequence[Row]) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """The dialogs, their top messages, chats and users."""
    me = call.account.id
    cast = peers.Cast(call.world, me)
    dialogs, tops = [], []
    for row in rows:
        reads = call.server.updates.reads.of(me, row.chat_id, row.top_id)
        dialogs.append(
            types.Dialog(
                peers.peer(call.world, row.chat_id),
                row.top_id,
                reads.inbox_max_id,
                reads.outbox_max_id,
                reads.unread_count,
                0,
                0,
                0,
                types.PeerNotifySettings(),
                pts=call.server.updates.pts(row.chat_id) if peers.is_channel(call.world, row.chat_id) else None,
            )
        )
        cast.add_message(row.top)
        tops.append(call.server.renderer.render(row.top, me))
    return dialogs, tops, cast.chats(), cast.users()


METHODS: dict[type, Handler] = {
    functions.messages.GetDialogsRequest: get_dialogs,
    functions.messages.GetPeerDialogsRequest: get_peer_dialogs,
    functions.messages.GetPinnedDialogsRequest: get_pinned_dialogs,
}
