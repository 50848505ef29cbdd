"""Accounts and groups as TL users and chats, and input peers back to them.

The world's "group" has a message id sequence of its own and so is a supergroup here (channel with `megagroup`), "channel" is a
broadcast channel, and "basic_group" is an old-style chat whose messages take ids in each member's box.
"""

from __future__ import annotations

from typing import Any

from telethon.tl import types

from sandbox.mtproto.rpc import Call, RpcError
from sandbox.world import Account, Group, Message, World

CHANNEL_BASE = 1_000_000_000_000  # the Bot API writes channel 5 as -1000000000005


def bare_id(group_id: int) -> int:
    """A group's id as MTProto has it, whichever of the usual forms the world uses."""
    return abs(group_id) - CHANNEL_BASE if abs(group_id) > CHANNEL_BASE else abs(group_id)


def group_access_hash(group: Group) -> int:
    return bare_id(group.id) * 7919 + 13


def is_channel(world: World, chat_id: int) -> bool:
    """Whether this is a group with its own message ids and its own pts."""
    group = world.groups.get(chat_id)
    return group is not None and group.kind != "basic_group"


def peer(world: World, chat_id: int) -> Any:
    group = world.groups.get(chat_id)
    if group is None:
        return types.PeerUser(chat_id)
    return types.PeerChat(bare_id(chat_id)) if group.kind == "basic_group" else types.PeerChannel(bare_id(chat_id))


def chat_of(message: Message, viewer_id: int) -> int:
    """The other account of a private chat, or the group's id."""
    return message.chat if isinstance(message.chat, int) else message.other(viewer_id)


def box_of(world: World, viewer_id: int, chat_id: int) -> int:
    """Whose id sequence numbers this chat's messages for the viewer."""
    return chat_id if is_channel(world, chat_id) else viewer_id


def user(world: World, account: Account, viewer_id: int) -> Any:
    """A TL user as the viewer sees it: phones of contacts and of oneself only, nothing of deleted accounts."""
    me = account.id == viewer_id
    if account.deleted:
        return types.User(account.id, deleted=True, access_hash=account.access_hash)
    contact = not me and not account.is_bot and bool(world.history(viewer_id, account.id))
    return types.User(
        account.id,
        is_self=me or None,
        contact=contact or None,
        mutual_contact=contact or None,
        bot=account.is_bot or None,
        bot_info_version=1 if account.is_bot else None,
        bot_business=account.is_bot or None,
        access_hash=account.access_hash,
        first_name=account.first_name,
        last_name=account.last_name or None,
        username=account.username,
        phone=account.phone.lstrip("+") if account.phone and (me or contact) else None,
        status=None if account.is_bot else types.UserStatusRecently(),
    )


def chat(group: Group, viewer_id: int) -> Any:
    photo, left = types.ChatPhotoEmpty(), viewer_id not in group.members or None
    if group.kind == "basic_group":
        return types.Chat(bare_id(group.id), group.title, photo, len(group.members), date=0, version=1, left=left)
    return types.Channel(
        bare_id(group.id),
        group.title,
        photo,
        date=0,
        broadcast=group.kind == "channel" or None,
        megagroup=group.kind == "group" or None,
        left=left,
        access_hash=group_access_hash(group),
        participants_count=len(group.members),
    )


class Cast:
    """The accounts and groups that an answer mentions; Telegram sends them along."""

    def __init__(self, world: World, viewer_id: int) -> None:
        self._world, self._viewer_id = world, viewer_id
        self._accounts = {viewer_id}
        self._groups: set[int] = set()

    def add(self, chat_id: int) -> None:
        (self._groups if chat_id in self._world.groups else self._accounts).add(chat_id)

    def add_message(self, message: Message) -> None:
        """The chat and everybody that the message names."""
        if isinstance(message.chat, int):
            self._groups.add(message.chat)
        else:
            self._accounts |= message.chat
        self._accounts.add(message.sender_id)
        if message.forwarded_from is not None:
            self._accounts.add(message.forwarded_from)
        if message.sender_business_bot_id is not None:
            self._accounts.add(message.sender_business_bot_id)

    def users(self) -> list[Any]:
        known = (self._world.accounts.get(i) for i in sorted(self._accounts))
        return [user(self._world, account, self._viewer_id) for account in known if account]

    def chats(self) -> list[Any]:
        return [chat(self._world.groups[i], self._viewer_id) for i in sorted(self._groups)]


def resolve(call: Call, given: Any) -> int:
    """The account or group that an input peer names. 400 PEER_ID_INVALID unless its access hash is right."""
    match given:
        case types.InputPeerSelf() | types.InputUserSelf():
            return call.account.id
        case types.InputPeerUser() | types.InputUser():
            account = call.world.accounts.get(given.user_id)
            if account is None or (given.access_hash != account.access_hash and account.id != call.account.id):
                raise RpcError(400, "PEER_ID_INVALID")
            return account.id
        case types.InputPeerChat():
            return _member_group(call, _find_group(call, given.chat_id, channel=False))
        case types.InputPeerChannel() | types.InputChannel():
            group = _find_group(call, given.channel_id, channel=True)
            if given.access_hash != group_access_hash(group):
                raise RpcError(400, "CHANNEL_INVALID")
            return _member_group(call, group)
        case _:
            raise RpcError(400, "PEER_ID_INVALID")


def _find_group(call: Call, wanted: int, *, channel: bool) -> Group:
    for group in call.world.groups.values():
        if bare_id(group.id) == wanted and is_channel(call.world, group.id) == channel:
            return group
    raise RpcError(400, "CHANNEL_INVALID" if channel else "CHAT_ID_INVALID")


def _member_group(call: Call, group: Group) -> int:
    if call.account.id not in group.members:
        raise RpcError(400, "CHANNEL_PRIVATE")
    return group.id
