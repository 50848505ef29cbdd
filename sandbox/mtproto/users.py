"""Who is who: users.*, contacts.*, and groups looked up by id."""

from __future__ import annotations

from typing import Any

from telethon.tl import functions, types

from sandbox.mtproto import peers
from sandbox.mtproto.auth import digits
from sandbox.mtproto.rpc import Call, Handler, RpcError


def get_users(call: Call, request: Any) -> list[Any]:
    """A user that cannot be found, or whose access hash is wrong, is userEmpty and not an error."""
    return [_user_or_empty(call, given) for given in request.id]


def _user_or_empty(call: Call, given: Any) -> Any:
    try:
        return peers.user(call.world, call.world.account(peers.resolve(call, given)), call.account.id)
    except RpcError as error:
        if error.code == 401:
            raise
        return types.UserEmpty(getattr(given, "user_id", 0))


def get_full_user(call: Call, request: Any) -> Any:
    account = call.world.account(peers.resolve(call, request.id))
    common = sum({call.account.id, account.id} <= group.members for group in call.world.groups.values())
    bot_info = None
    if account.is_bot:
        menu = call.world.commands_for(account.id, call.account.id)
        bot_info = types.BotInfo(user_id=account.id, commands=[types.BotCommand(name, text) for name, text in menu])
    full = types.UserFull(
        account.id,
        types.PeerSettings(),
        types.PeerNotifySettings(),
        common,
        blocked=account.id in call.account.blocked or None,
        bot_info=bot_info,
    )
    return types.users.UserFull(full, [], [peers.user(call.world, account, call.account.id)])


def _resolved(call: Call, chat_id: int) -> Any:
    cast = peers.Cast(call.world, call.account.id)
    cast.add(chat_id)
    return types.contacts.ResolvedPeer(peers.peer(call.world, chat_id), cast.chats(), cast.users())


def resolve_username(call: Call, request: Any) -> Any:
    wanted = request.username.lstrip("@").lower()
    for account in call.world.accounts.values():
        if account.username and account.username.lower() == wanted and not account.deleted:
            return _resolved(call, account.id)
    raise RpcError(400, "USERNAME_NOT_OCCUPIED")


def resolve_phone(call: Call, request: Any) -> Any:
    account = call.server.logins.account_of(request.phone)
    if account is None or not digits(request.phone):
        raise RpcError(400, "PHONE_NOT_OCCUPIED")
    return _resolved(call, account.id)


def get_contacts(call: Call, _request: Any) -> Any:
    """Everybody this account has a private chat with, bots and itself apart."""
    me = call.account.id
    accounts = [call.world.accounts[i] for i in call.world.dialogs(me) if i in call.world.accounts]
    users = [peers.user(call.world, a, me) for a in accounts if not (a.is_bot or a.deleted or a.id == me)]
    return types.contacts.Contacts([types.Contact(u.id, mutual=True) for u in users], 0, users)


def get_chats(call: Call, request: Any) -> Any:
    groups = [g for g in call.world.groups.values() if call.account.id in g.members and g.kind == "basic_group"]
    found = [peers.chat(g, call.account.id) for g in groups if peers.bare_id(g.id) in request.id]
    return types.messages.Chats(found)


def get_channels(call: Call, request: Any) -> Any:
    ids = [peers.resolve(call, given) for given in request.id]
    return types.messages.Chats([peers.chat(call.world.groups[i], call.account.id) for i in ids])


METHODS: dict[type, Handler] = {
    functions.users.GetUsersRequest: get_users,
    functions.users.GetFullUserRequest: get_full_user,
    functions.contacts.ResolveUsernameRequest: resolve_username,
    functions.contacts.ResolvePhoneRequest: resolve_phone,
    functions.contacts.GetContactsRequest: get_contacts,
    functions.messages.GetChatsRequest: get_chats,
    functions.channels.GetChannelsRequest: get_channels,
}
