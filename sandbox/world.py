"""The world: accounts, private chats, groups, messages and business connections, and what happens to them.

One world stands behind every door (`botapi`, `mtproto`, `page`). A door calls the verbs of `World` and listens to its
events; it never changes a message itself. Everything here is synchronous and single-threaded: a verb finishes, with all
its events delivered, before anything else runs, so every door sees one order of things.

Message ids are as in Telegram: each account has one id sequence shared by all of its private chats, so one message has one
id in each box (`Message.ids`). A group has one sequence of its own, under the group's id. Business updates carry the ids
of the owner's box.
"""

from __future__ import annotations

import itertools
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

MAX_TEXT = 4096  # UTF-16 code units, https://core.telegram.org/bots/api#sendmessage
REPLY_WINDOW_SECONDS = 86_400  # can_reply: "chats that had incoming messages in the last 24 hours"


class WorldError(Exception):
    """A verb that Telegram would refuse. `code` is Telegram's own upper-case name; each door words it for its protocol."""

    def __init__(self, code: str, **details: Any) -> None:
        super().__init__(code)
        self.code = code
        self.details = details


@dataclass
class Account:
    id: int
    first_name: str
    last_name: str = ""
    username: str | None = None
    phone: str | None = None
    password: str | None = None  # 2FA
    is_bot: bool = False
    token: str | None = None  # of a bot, "<id>:<secret>"
    blocked: set[int] = field(default_factory=set)  # ids of accounts whose messages this one refuses
    deleted: bool = False  # its messages stay, its name is gone

    @property
    def access_hash(self) -> int:
        return self.id * 7919 + 13


@dataclass
class Group:
    id: int  # positive, as in MTProto; the Bot API door shows -id, or -100id for a channel
    title: str
    kind: Literal["group", "channel", "basic_group"]  # a basic group's messages take ids in each member's box
    members: set[int]


@dataclass(frozen=True)
class Media:
    """A file in a message. `kind` is the Bot API's field name: photo, document, voice, video, video_note, sticker, audio..."""

    kind: str
    content: bytes = b""
    mime_type: str = "application/octet-stream"
    file_name: str | None = None
    emoji: str | None = None
    width: int = 0
    height: int = 0
    duration: int = 0


Garbled = Literal["constructor", "cut"]  # one of a newer layer, bytes that are missing


@dataclass
class Message:
    uid: int  # unique in the world; never leaves it except on the page
    chat: frozenset[int] | int  # the two accounts of a private chat, or a group's id
    sender_id: int
    text: str
    date: int  # unix seconds
    ids: dict[int, int]  # account id (or group id) -> the id this message has in that box
    entities: list[dict[str, Any]] = field(default_factory=list)  # Bot API form
    media: Media | None = None
    reply_to: int | None = None  # uid
    forwarded_from: int | None = None  # account id
    edit_date: int | None = None
    reply_markup: dict[str, Any] | None = None  # Bot API form, inline keyboards
    business_connection_id: str | None = None  # sent through one
    sender_business_bot_id: int | None = None
    random_id: int | None = None  # MTProto sends
    service: str | None = None  # e.g. "history_clear", "phone_call": a service message
    unattended: bool = False  # sent by itself: an away, greeting or scheduled message
    thread_id: int | None = None  # the topic of a private chat with a bot: the id of the message that opened it, in the bot's box
    garbled: Garbled | None = None  # how MTProto serves it, to a client that cannot read it
    reactions: dict[int, tuple[str, ...]] = field(default_factory=dict)  # account id -> its emoji

    def other(self, account_id: int) -> int:
        """The other side of a private chat (the account itself in saved messages)."""
        assert isinstance(self.chat, frozenset)
        return next((a for a in self.chat if a != account_id), account_id)


@dataclass
class BusinessConnection:
    id: str
    account_id: int  # the owner's
    bot_id: int
    date: int
    enabled: bool = True
    rights: dict[str, bool] = field(default_factory=lambda: {"can_reply": True, "can_read_messages": True})


@dataclass(frozen=True)
class Press:
    """A tap on an inline button, waiting for answerCallbackQuery."""

    id: str
    account_id: int
    message: Message
    data: str
    at: float


# --- events: what a door hears. `message` objects are live; a door that keeps one keeps a copy. -------------------------


@dataclass(frozen=True)
class Sent:
    message: Message


@dataclass(frozen=True)
class Edited:
    message: Message


@dataclass(frozen=True)
class Deleted:
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Typing:
    sender_id: int
    receiver_id: int
    action: str = "typing"


@dataclass(frozen=True)
class Read:
    reader_id: int
    other_id: int
    max_id: int  # in the reader's box


@dataclass(frozen=True)
class Pressed:
    press: Press


@dataclass(frozen=True)
class PressAnswered:
    press: Press
    text: str
    alert: bool


@dataclass(frozen=True)
class ConnectionChanged:
    connection: BusinessConnection


@dataclass(frozen=True)
class CommandsSet:
    bot_id: int
    commands: tuple[tuple[str, str], ...]
    account_id: int | None = None  # the menu is for this account only


@dataclass(frozen=True)
class DraftStreamed:
    """A bot shows a text that is still being written (sendMessageDraft). The message itself follows as `Sent`, or never."""

    bot_id: int
    account_id: int
    draft_id: int
    text: str


@dataclass(frozen=True)
class Reacted:
    account_id: int
    message: Message


@dataclass(frozen=True)
class MemberChanged:
    group_id: int
    account_id: int
    by_id: int
    joined: bool


@dataclass(frozen=True)
class BlockChanged:
    account_id: int
    blocked_id: int
    blocked: bool


Event = (
    Sent
    | Edited
    | Deleted
    | Typing
    | Read
    | Pressed
    | PressAnswered
    | ConnectionChanged
    | CommandsSet
    | DraftStreamed
    | Reacted
    | MemberChanged
    | BlockChanged
)


class World:
    """All state. `clock` gives unix seconds and can be replaced in tests (the 24 h rule, callback expiry)."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.accounts: dict[int, Account] = {}
        self.groups: dict[int, Group] = {}
        self.messages: dict[int, Message] = {}  # by uid
        self.connections: dict[str, BusinessConnection] = {}
        self.presses: dict[str, Press] = {}
        self.commands: dict[int, tuple[tuple[str, str], ...]] = {}  # bot id -> its menu
        self.own_commands: dict[tuple[int, int], tuple[tuple[str, str], ...]] = {}  # (bot id, account id) -> menu for that account
        self._boxes: dict[int, dict[int, Message]] = {}  # box owner -> id -> message
        self._chats: dict[frozenset[int] | int, list[Message]] = {}  # in order of sending
        self._next_id: dict[int, int] = {}
        self._by_random_id: dict[tuple[int, int, int], Message] = {}
        self._uids = itertools.count(1)
        self._press_ids = itertools.count(1)
        self._listeners: list[Callable[[Event], None]] = []

    # --- listening ---

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` with every later event; the returned function ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _emit(self, event: Event) -> None:
        for listener in list(self._listeners):
            listener(event)

    # --- reading ---

    def account(self, account_id: int) -> Account:
        try:
            return self.accounts[account_id]
        except KeyError:
            raise WorldError("PEER_ID_INVALID", account_id=account_id) from None

    def bot(self, token: str) -> Account | None:
        return next((a for a in self.accounts.values() if a.is_bot and a.token == token), None)

    def in_box(self, box: int, message_id: int) -> Message | None:
        return self._boxes.get(box, {}).get(message_id)

    def history(self, account_id: int, other_id: int) -> list[Message]:
        """The private chat of two accounts (or, with a group's id as `other_id`, the group), oldest first. Do not change."""
        if other_id in self.groups:
            return self._chats.get(other_id, [])
        return self._chats.get(frozenset((account_id, other_id)), [])

    def dialogs(self, account_id: int) -> list[int]:
        """Ids of the other accounts and groups this account has a chat with that is not empty, newest first."""
        found = []
        for chat, messages in self._chats.items():
            if not messages:
                continue
            if isinstance(chat, int):
                if account_id in self.groups[chat].members:
                    found.append((messages[-1].date, messages[-1].uid, chat))
            elif account_id in chat:
                found.append((messages[-1].date, messages[-1].uid, messages[-1].other(account_id)))
        return [other for _, _, other in sorted(found, reverse=True)]

    def connection_of(self, account_id: int) -> BusinessConnection | None:
        """The enabled business connection of this account (Telegram allows one)."""
        return next((c for c in self.connections.values() if c.account_id == account_id and c.enabled), None)

    def can_reply(self, connection: BusinessConnection, other_id: int) -> bool:
        """Whether the 24 h window of this chat is open."""
        opened_after = self.clock() - REPLY_WINDOW_SECONDS
        for message in reversed(self.history(connection.account_id, other_id)):
            if message.date <= opened_after:  # dates do not fall, so all earlier ones are older still
                return False
            if message.sender_id == other_id:
                return True
        return False

    def commands_for(self, bot_id: int, account_id: int) -> tuple[tuple[str, str], ...]:
        """The command menu that this account sees in its chat with the bot."""
        return self.own_commands.get((bot_id, account_id), self.commands.get(bot_id, ()))

    # --- verbs ---

    def add_account(self, account: Account) -> Account:
        self.accounts[account.id] = account
        return account

    def add_group(self, group: Group) -> Group:
        self.groups[group.id] = group
        return group

    def send(
        self,
        sender_id: int,
        to: int,
        text: str,
        *,
        date: int | None = None,
        entities: Iterable[dict[str, Any]] = (),
        media: Media | None = None,
        reply_to: int | None = None,
        forwarded_from: int | None = None,
        reply_markup: dict[str, Any] | None = None,
        connection: BusinessConnection | None = None,
        random_id: int | None = None,
        service: str | None = None,
        unattended: bool = False,
        thread_id: int | None = None,
        silent: bool = False,
    ) -> Message:
        """Put a message into a private chat (or a group). `silent` adds history without events, for loading a world.

        With `connection` the sender is the connection's account and the message is marked with its bot. A `random_id`
        that this sender already used with this receiver raises RANDOM_ID_DUPLICATE with the first message in
        `details["message"]`. Errors: PEER_ID_INVALID, USER_IS_BLOCKED, MESSAGE_EMPTY, MESSAGE_TOO_LONG.
        """
        if to not in self.groups and sender_id in self.account(to).blocked:
            raise WorldError("USER_IS_BLOCKED", account_id=to)
        if not text.strip() and media is None and service is None:
            raise WorldError("MESSAGE_EMPTY")
        if len(text.encode("utf-16-le")) // 2 > MAX_TEXT:
            raise WorldError("MESSAGE_TOO_LONG")
        if random_id is not None and (first := self._by_random_id.get((sender_id, to, random_id))):
            raise WorldError("RANDOM_ID_DUPLICATE", message=first)
        chat: frozenset[int] | int = to if to in self.groups else frozenset((sender_id, to))
        boxes: Iterable[int] = chat if isinstance(chat, frozenset) else self._boxes_of_group(chat)
        message = Message(
            uid=next(self._uids),
            chat=chat,
            sender_id=sender_id,
            text=text,
            date=int(self.clock()) if date is None else date,
            ids={box: self._take_id(box) for box in sorted(boxes)},
            entities=list(entities),
            media=media,
            reply_to=reply_to,
            forwarded_from=forwarded_from,
            reply_markup=reply_markup,
            business_connection_id=connection.id if connection else None,
            sender_business_bot_id=connection.bot_id if connection else None,
            random_id=random_id,
            service=service,
            unattended=unattended,
            thread_id=thread_id,
        )
        self.messages[message.uid] = message
        self._chats.setdefault(chat, []).append(message)
        for box, message_id in message.ids.items():
            self._boxes.setdefault(box, {})[message_id] = message
        if random_id is not None:
            self._by_random_id[sender_id, to, random_id] = message
        if not silent:
            self._emit(Sent(message))
        return message

    def edit(
        self,
        message: Message,
        *,
        text: str | None = None,
        entities: Iterable[dict[str, Any]] = (),
        reply_markup: dict[str, Any] | None = None,
        media: Media | None = None,
    ) -> Message:
        """Replace the text (None keeps it and its entities), the keyboard and, if given, the media.

        Errors: MESSAGE_NOT_MODIFIED, MESSAGE_EMPTY, MESSAGE_TOO_LONG.
        """
        new_text = message.text if text is None else text
        new_entities = message.entities if text is None else list(entities)
        new_media = message.media if media is None else media
        if not new_text.strip() and new_media is None:
            raise WorldError("MESSAGE_EMPTY")
        if len(new_text.encode("utf-16-le")) // 2 > MAX_TEXT:
            raise WorldError("MESSAGE_TOO_LONG")
        changed = (new_text, new_entities, new_media) != (message.text, message.entities, message.media)
        if not changed and reply_markup == message.reply_markup:
            raise WorldError("MESSAGE_NOT_MODIFIED")
        if changed:
            message.edit_date = int(self.clock())
        message.text, message.entities, message.media = new_text, new_entities, new_media
        message.reply_markup = reply_markup
        self._emit(Edited(message))
        return message

    def delete(self, messages: Iterable[Message]) -> None:
        """Delete for both sides. What is gone already is passed over."""
        gone = tuple(message for message in messages if message.uid in self.messages)
        for message in gone:
            self.messages.pop(message.uid, None)
            chat = self._chats[message.chat]
            place = bisect_left(chat, message.uid, key=lambda m: m.uid)
            if place < len(chat) and chat[place].uid == message.uid:
                del chat[place]
            for box, message_id in message.ids.items():
                self._boxes[box].pop(message_id, None)
        if gone:
            self._emit(Deleted(gone))

    def typing(self, sender_id: int, receiver_id: int, action: str = "typing") -> None:
        self._emit(Typing(sender_id, receiver_id, action))

    def read(self, reader_id: int, other_id: int, max_id: int) -> None:
        self._emit(Read(reader_id, other_id, max_id))

    def press(self, account_id: int, message: Message, data: str) -> Press:
        """Tap an inline button. Errors: BUTTON_DATA_INVALID if the message has no such button."""
        rows = (message.reply_markup or {}).get("inline_keyboard", [])
        if not any(button.get("callback_data") == data for row in rows for button in row):
            raise WorldError("BUTTON_DATA_INVALID")
        press = Press(str(next(self._press_ids)), account_id, message, data, self.clock())
        self.presses[press.id] = press
        self._emit(Pressed(press))
        return press

    def answer_press(self, press_id: str, text: str = "", alert: bool = False) -> None:
        """Answer a tap once, within 60 s. Errors: QUERY_ID_INVALID."""
        press = self.presses.get(press_id)
        if press is None or self.clock() - press.at > 60:
            raise WorldError("QUERY_ID_INVALID")
        del self.presses[press_id]
        self._emit(PressAnswered(press, text, alert))

    def set_connection(self, connection: BusinessConnection) -> None:
        """Make, change or withdraw (`enabled=False`) a business connection."""
        self.connections[connection.id] = connection
        self._emit(ConnectionChanged(connection))

    def set_commands(self, bot_id: int, commands: Iterable[tuple[str, str]], account_id: int | None = None) -> None:
        """Set a bot's menu, or with `account_id` the one that only this account sees. An empty own menu falls back to the bot's."""
        menu = tuple(commands)
        if account_id is None:
            self.commands[bot_id] = menu
        elif menu:
            self.own_commands[bot_id, account_id] = menu
        else:
            self.own_commands.pop((bot_id, account_id), None)
        self._emit(CommandsSet(bot_id, menu, account_id))

    def stream_draft(self, bot_id: int, account_id: int, draft_id: int, text: str) -> None:
        self._emit(DraftStreamed(bot_id, account_id, draft_id, text))

    def react(self, account_id: int, message: Message, emoji: Iterable[str]) -> None:
        """Set this account's reactions on a message; none withdraws them."""
        chosen = tuple(emoji)
        if chosen:
            message.reactions[account_id] = chosen
        else:
            message.reactions.pop(account_id, None)
        self._emit(Reacted(account_id, message))

    def join(self, group_id: int, account_id: int, *, by_id: int) -> None:
        """Put an account into a group. Doing it twice changes nothing."""
        group = self.groups[group_id]
        if account_id not in group.members:
            group.members.add(self.account(account_id).id)
            self._emit(MemberChanged(group_id, account_id, by_id, joined=True))

    def leave(self, group_id: int, account_id: int, *, by_id: int) -> None:
        group = self.groups[group_id]
        if account_id in group.members:
            group.members.remove(account_id)
            self._emit(MemberChanged(group_id, account_id, by_id, joined=False))

    def block(self, account_id: int, other_id: int, *, blocked: bool = True) -> None:
        """Refuse, or take again, the messages of another account. Doing it twice changes nothing."""
        refused = self.account(account_id).blocked
        if (other_id in refused) == blocked:
            return
        if blocked:
            refused.add(self.account(other_id).id)
        else:
            refused.remove(other_id)
        self._emit(BlockChanged(account_id, other_id, blocked))

    def _boxes_of_group(self, group_id: int) -> Iterable[int]:
        group = self.groups[group_id]
        return group.members if group.kind == "basic_group" else (group_id,)

    def _take_id(self, box: int) -> int:
        self._next_id[box] = self._next_id.get(box, 0) + 1
        return self._next_id[box]
