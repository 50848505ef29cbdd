"""The control API under /api/: all that the page does, and what demo scripts and tests need besides. JSON in, JSON out.

    GET  health | world | chats/{account} | chats/{account}/{other}?limit=&before= | media/{uid} | faults
         login_code?phone=  events?after=        (server-sent events; `stream` of /api/world is the position to start from)
    POST send        {from, to, text, entities?, media?, reply_to?, reply_markup?}
         edit        {account, message, text}        delete      {account, messages}
         press       {account, message, data}        react       {account, message, emoji}
         typing      {from, to, action?}             read        {account, other}
         connect     {account, bot, rights?}         disconnect  {account}
         block       {account, other, blocked?}      faults      {add?, clear?}

`message` is a uid, as in every message here. What cannot be done is answered with {"error": a sentence, "code"}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

from aiohttp import web

from sandbox.botapi.spans import detected, trim
from sandbox.faults import Faults
from sandbox.page.calls import entities_of, fault_of, integer, media_of, number, read_body, text_of
from sandbox.page.guard import BadCall
from sandbox.page.reads import ReadMarks
from sandbox.page.stream import EventStream
from sandbox.page.wire import Json, account_json, commands_json, connection_json, group_json, message_json
from sandbox.world import BusinessConnection, Message, World

LoginCode = Callable[[str], str | None]  # phone number -> the code that was sent to it last

PICTURES = {"image/png", "image/jpeg", "image/gif", "image/webp"}  # what a browser may show in place; SVG can carry scripts
SOUNDS = {"audio/ogg", "audio/mpeg", "audio/mp4", "audio/wav", "video/mp4", "video/webm"}


class Control:
    def __init__(
        self, world: World, faults: Faults, owner_id: int, *, reads: ReadMarks, stream: EventStream, login_code: LoginCode
    ) -> None:
        self.world = world
        self.faults = faults
        self.owner_id = owner_id
        self.reads = reads
        self.stream = stream
        self.login_code = login_code

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/health", self.health),
            web.get("/api/world", self.describe),
            web.get("/api/chats/{account}", self.chats),
            web.get("/api/chats/{account}/{other}", self.history),
            web.get("/api/media/{uid}", self.media),
            web.get("/api/events", self.stream.serve),
            web.get("/api/login_code", self.read_login_code),
            web.get("/api/faults", self.list_faults),
            web.post("/api/faults", self.change_faults),
            web.post("/api/send", self.send),
            web.post("/api/edit", self.edit),
            web.post("/api/delete", self.delete),
            web.post("/api/press", self.press),
            web.post("/api/react", self.react),
            web.post("/api/typing", self.typing),
            web.post("/api/read", self.read),
            web.post("/api/connect", self.connect),
            web.post("/api/disconnect", self.disconnect),
            web.post("/api/block", self.block),
        ]

    # --- reading ---

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"ok": True, "accounts": len(self.world.accounts), "messages": len(self.world.messages)})

    async def describe(self, request: web.Request) -> web.Response:
        world = self.world
        return web.json_response(
            {
                "seq": self.stream.seq,
                "stream": self.stream.position,
                "owner": self.owner_id,
                "bots": [a.id for a in world.accounts.values() if a.is_bot],
                "contacts": contact_ids(world, self.owner_id),
                "accounts": [account_json(a) for a in world.accounts.values()],
                "groups": [group_json(g) for g in world.groups.values()],
                "connections": [connection_json(c) for c in world.connections.values()],
                "commands": [
                    *({"bot": b, "account": None, "commands": commands_json(menu)} for b, menu in world.commands.items()),
                    *({"bot": b, "account": a, "commands": commands_json(menu)} for (b, a), menu in world.own_commands.items()),
                ],
            }
        )

    async def chats(self, request: web.Request) -> web.Response:
        """The chat list of one account, newest first."""
        account_id = self.world.account(number(request.match_info["account"], "account")).id
        rows = []
        for other_id in self.world.dialogs(account_id):
            last = self.world.history(account_id, other_id)[-1]
            rows.append({"other": other_id, "last": message_json(last), **self._read_state(account_id, other_id)})
        return web.json_response({"seq": self.stream.seq, "chats": rows})

    async def history(self, request: web.Request) -> web.Response:
        """One page of a chat, oldest first: the newest `limit` messages, or those before the uid `before`."""
        account_id = self.world.account(number(request.match_info["account"], "account")).id
        other_id = self._peer(number(request.match_info["other"], "other"))
        limit = min(number(request.query.get("limit", "60"), "limit"), 500)
        messages = self.world.history(account_id, other_id)
        end = len(messages)
        if "before" in request.query:
            before = number(request.query["before"], "before")
            while end and messages[end - 1].uid >= before:
                end -= 1
        page = messages[max(0, end - limit) : end]
        quoted = {m.reply_to for m in page if m.reply_to} - {m.uid for m in page}
        return web.json_response(
            {
                "seq": self.stream.seq,
                "messages": [message_json(m) for m in page],
                "quoted": [message_json(self.world.messages[uid]) for uid in sorted(quoted) if uid in self.world.messages],
                "more": end > limit,
                **self._read_state(account_id, other_id),
            }
        )

    async def media(self, request: web.Request) -> web.Response:
        media = self._message(number(request.match_info["uid"], "uid")).media
        if media is None:
            raise BadCall("This message has no file.", status=404, code="NOT_FOUND")
        shown = media.mime_type in PICTURES | SOUNDS
        headers = {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "no-store"}
        if not shown:
            headers["Content-Disposition"] = "attachment"
        return web.Response(body=media.content, content_type=media.mime_type if shown else "application/octet-stream", headers=headers)

    async def read_login_code(self, request: web.Request) -> web.Response:
        """The code that was last sent to a phone number: what the account's owner would read in Telegram or a text message."""
        code = self.login_code(request.query.get("phone", ""))
        if code is None:
            raise BadCall("No code was sent to this phone number.", status=404, code="NOT_FOUND")
        return web.json_response({"code": code})

    # --- doing ---

    async def send(self, request: web.Request) -> web.Response:
        call = await read_body(request)
        text, entities = trim(text_of(call, "text", default=""), entities_of(call))
        reply_to = integer(call, "reply_to") if call.get("reply_to") is not None else None
        if reply_to is not None:
            self._message(reply_to)
        message = self.world.send(
            self.world.account(integer(call, "from")).id,
            self._peer(integer(call, "to")),
            text,
            entities=detected(text, entities),
            media=media_of(call["media"]) if call.get("media") is not None else None,
            reply_to=reply_to,
            reply_markup=call.get("reply_markup"),
        )
        return web.json_response({"message": message_json(message)})

    async def edit(self, request: web.Request) -> web.Response:
        call = await read_body(request)
        message = self._own_message(call)
        text, entities = trim(text_of(call, "text"), entities_of(call))
        self.world.edit(message, text=text, entities=detected(text, entities), reply_markup=message.reply_markup)
        return web.json_response({"message": message_json(message)})

    async def delete(self, request: web.Request) -> web.Response:
        """Delete for both sides; either side may, as in Telegram's private chats."""
        call = await read_body(request)
        account_id = self.world.account(integer(call, "account")).id
        uids = call.get("messages")
        if not isinstance(uids, list) or not all(isinstance(uid, int) for uid in uids):
            raise BadCall("`messages` must be a list of uids.")
        messages = [self._message(uid) for uid in dict.fromkeys(uids)]
        if not all(self._sees(account_id, message) for message in messages):
            raise BadCall("This account is not in that chat.", status=403, code="FORBIDDEN")
        self.world.delete(messages)
        return web.json_response({"deleted": len(messages)})

    async def press(self, request: web.Request) -> web.Response:
        call = await read_body(request)
        account_id = self.world.account(integer(call, "account")).id
        message = self._message(integer(call, "message"))
        if not self._sees(account_id, message):
            raise BadCall("This account is not in that chat.", status=403, code="FORBIDDEN")
        return web.json_response({"press": self.world.press(account_id, message, text_of(call, "data")).id})

    async def react(self, request: web.Request) -> web.Response:
        """Set this account's reactions on a message; an empty list withdraws them."""
        call = await read_body(request)
        account_id = self.world.account(integer(call, "account")).id
        message = self._message(integer(call, "message"))
        emoji = call.get("emoji")
        if not isinstance(emoji, list) or not all(isinstance(one, str) for one in emoji):
            raise BadCall("`emoji` must be a list of texts.")
        if not self._sees(account_id, message):
            raise BadCall("This account is not in that chat.", status=403, code="FORBIDDEN")
        self.world.react(account_id, message, emoji)
        return web.json_response({"message": message_json(message)})

    async def typing(self, request: web.Request) -> web.Response:
        call = await read_body(request)
        sender_id, receiver_id = self.world.account(integer(call, "from")).id, self._peer(integer(call, "to"))
        self.world.typing(sender_id, receiver_id, text_of(call, "action", default="typing"))
        return web.json_response({"ok": True})

    async def read(self, request: web.Request) -> web.Response:
        """The account has this chat open and has seen all of it. Nothing happens where nothing was unread."""
        call = await read_body(request)
        account_id, other_id = self.world.account(integer(call, "account")).id, self._peer(integer(call, "other"))
        unread = self.reads.unread(account_id, other_id)
        if unread:
            ids = self.world.history(account_id, other_id)[-1].ids
            self.world.read(account_id, other_id, ids.get(account_id, ids.get(other_id, 0)))
        return web.json_response({"read": unread})

    async def connect(self, request: web.Request) -> web.Response:
        """Make the bot the account's business bot. Telegram allows one, so another one's connection ends."""
        call = await read_body(request)
        account, bot = self.world.account(integer(call, "account")), self.world.account(integer(call, "bot"))
        if not bot.is_bot or account.is_bot:
            raise BadCall("`account` must be a person and `bot` a bot.")
        rights = call.get("rights", {"can_reply": True, "can_read_messages": True})
        if not isinstance(rights, dict) or not all(isinstance(value, bool) for value in rights.values()):
            raise BadCall('`rights` must be like {"can_reply": true}.')
        current = self.world.connection_of(account.id)
        if current is not None and current.bot_id == bot.id:
            connection = replace(current, rights=dict(rights))
        else:
            if current is not None:
                self.world.set_connection(replace(current, enabled=False))
            name = f"bc-{account.id}-{len(self.world.connections) + 1}"  # a new one gets a new id, as in Telegram
            connection = BusinessConnection(name, account.id, bot.id, int(self.world.clock()), rights=dict(rights))
        self.world.set_connection(connection)
        return web.json_response({"connection": connection_json(connection)})

    async def disconnect(self, request: web.Request) -> web.Response:
        account_id = self.world.account(integer(await read_body(request), "account")).id
        current = self.world.connection_of(account_id)
        if current is None:
            raise BadCall("This account has no business bot.", code="NOT_CONNECTED")
        ended = replace(current, enabled=False)
        self.world.set_connection(ended)
        return web.json_response({"connection": connection_json(ended)})

    async def block(self, request: web.Request) -> web.Response:
        """`account` refuses what `other` sends, or (`"blocked": false`) takes it again."""
        call = await read_body(request)
        account, other = self.world.account(integer(call, "account")), self.world.account(integer(call, "other"))
        blocked = call.get("blocked", True)
        if not isinstance(blocked, bool):
            raise BadCall("`blocked` must be true or false.")
        self.world.block(account.id, other.id, blocked=blocked)
        return web.json_response({"account": account_json(account)})

    async def list_faults(self, request: web.Request) -> web.Response:
        return web.json_response({"faults": [asdict(rule) for rule in self.faults.rules if rule.times > 0]})

    async def change_faults(self, request: web.Request) -> web.Response:
        """`{"clear": true}` drops all rules, `{"add": {"method", "action", "arg", "skip", "times"}}` adds one (or a list)."""
        call = await read_body(request)
        if not {"add", "clear"} & set(call):
            raise BadCall("Give `add`, `clear` or both.")
        added = call.get("add", [])
        rules = [fault_of(item) for item in (added if isinstance(added, list) else [added])]
        if call.get("clear"):
            self.faults.clear()
        for rule in rules:
            self.faults.add(rule)
        return await self.list_faults(request)

    # --- looking up ---

    def _peer(self, peer_id: int) -> int:
        return peer_id if peer_id in self.world.groups else self.world.account(peer_id).id

    def _message(self, uid: int) -> Message:
        message = self.world.messages.get(uid)
        if message is None:
            raise BadCall("There is no such message (any more).", status=404, code="MESSAGE_ID_INVALID")
        return message

    def _own_message(self, call: Json) -> Message:
        account_id, message = self.world.account(integer(call, "account")).id, self._message(integer(call, "message"))
        if message.sender_id != account_id:
            raise BadCall("Only its sender can edit a message.", status=403, code="MESSAGE_AUTHOR_REQUIRED")
        return message

    def _sees(self, account_id: int, message: Message) -> bool:
        return account_id in (self.world.groups[message.chat].members if isinstance(message.chat, int) else message.chat)

    def _read_state(self, account_id: int, other_id: int) -> Json:
        return {"unread": self.reads.unread(account_id, other_id), "seen_by_other": self.reads.read_up_to(other_id, account_id)}


def contact_ids(world: World, owner_id: int) -> list[int]:
    """People with whom the owner has a private chat, most messages first; then all other people."""
    people = [a.id for a in world.accounts.values() if not a.is_bot and a.id != owner_id]
    return sorted(people, key=lambda other_id: -len(world.history(owner_id, other_id)))
