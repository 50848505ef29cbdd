"""Worlds to play in: real human chats, a tiny one for tests, and own ones from a JSON file.

The file format of `load_world` and `dump_world` is one JSON object; what a default covers may be left out:

    {"format": "telegram-twin sandbox world 1",
     "owner_id": 100,
     "accounts":    [{"id", "first_name", "last_name", "username", "phone", "password", "is_bot", "token", "blocked": [id]}],
     "groups":      [{"id", "title", "kind": "group" | "channel", "members": [id]}],
     "connections": [{"id", "account_id", "bot_id", "date", "enabled", "rights": {name: bool}}],
     "messages":    [{"from": id, "to": account or group id, "date": unix seconds, "text", "entities",
                      "key": int, "reply_to": key, "forwarded_from": id, "edit_date", "reply_markup", "service",
                      "connection": id, "reactions": {account id: [emoji]},
                      "media": {"kind", "content": base64, "mime_type", "file_name", "emoji", "width", "height", "duration"}}]}

Messages stand in the order of sending: dates must not fall, because message ids follow that order.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from sandbox.names import invented_account
from sandbox.world import Account, BusinessConnection, Group, Media, Message, World

FORMAT = "telegram-twin sandbox world 1"
OWNER_ID = 100_001
BOT_ID = 42
BOT_TOKEN = f"{BOT_ID}:SANDBOX-not-a-secret"  # opens nothing but a sandbox
LAST_MESSAGE_AGE_SECONDS = 3600
ONE_PIXEL_PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


class WorldFileError(ValueError):
    """A world file that cannot be read; says where and what was expected."""


@dataclass(frozen=True)
class Sample:
    """What a loader put into the world."""

    owner_id: int
    contact_ids: tuple[int, ...]  # most messages first
    messages: int
    bot_id: int | None = None
    bot_token: str | None = None


def add_bot(world: World, *, bot_id: int = BOT_ID, token: str | None = None, name: str = "Twin", username: str = "twin_bot") -> Account:
    return world.add_account(Account(bot_id, name, username=username, is_bot=True, token=token or f"{bot_id}:SANDBOX-not-a-secret"))


def load_chitchat(
    world: World,
    owner_rank: int = 1,
    *,
    shift: bool = True,
    bot: bool = True,
    password: str | None = None,
    ended_at: int | None = None,
) -> Sample:
    """The chats of the `owner_rank`-th most active person (1 = the one who wrote most) of the package chitchat-dataset.

    Every partner becomes one private chat with all their conversations, real times kept. `shift` moves all dates by one
    constant, so that the last message is of `ended_at` (unix seconds; None: an hour ago) and every gap stays. Names,
    usernames and phone numbers are invented and the same every time. Errors: ValueError for a rank that nobody has.
    """
    # its Dataset() leaves the file open, so the file is read here
    dataset = json.loads((resources.files("chitchat_dataset") / "dataset.json").read_text(encoding="utf-8"))
    conversations = [[line for turn in c["messages"] for line in turn if line["text"].strip()] for c in dataset.values()]
    written = Counter(line["sender"] for lines in conversations for line in lines)
    if not 1 <= owner_rank <= len(written):
        raise ValueError(f"owner_rank is 1 to {len(written)}, not {owner_rank}")
    ranked = sorted(written, key=lambda person: (-written[person], person))
    owner = ranked[owner_rank - 1]
    lines: list[tuple[int, int, str, str, str]] = []  # date, place, sender, partner, text
    for conversation in conversations:
        people = {line["sender"] for line in conversation}
        if owner in people and len(people) == 2:
            (partner,) = people - {owner}
            lines += [
                (_unix(line["timestamp"]), len(lines) + i, line["sender"], partner, line["text"]) for i, line in enumerate(conversation)
            ]
    lines.sort(key=lambda line: line[:2])
    per_partner = Counter(line[3] for line in lines)
    partners = sorted(per_partner, key=lambda person: (-per_partner[person], person))
    ids = {owner: OWNER_ID} | {partner: OWNER_ID + 1 + i for i, partner in enumerate(partners)}
    for place, account_id in enumerate(ids.values()):
        world.add_account(invented_account(place, account_id, password=password if account_id == OWNER_ID else None))
    moved = _ended(world, ended_at) - lines[-1][0] if shift and lines else 0
    for date, _, sender, partner, text in lines:
        receiver = partner if sender == owner else owner
        world.send(ids[sender], ids[receiver], text, date=date + moved, silent=True)
    made = add_bot(world) if bot else None
    return Sample(OWNER_ID, tuple(ids[p] for p in partners), len(lines), made.id if made else None, made.token if made else None)


def _ended(world: World, ended_at: int | None) -> int:
    return int(world.clock()) - LAST_MESSAGE_AGE_SECONDS if ended_at is None else ended_at


def _unix(timestamp: str) -> int:
    return int(datetime.fromisoformat(timestamp).timestamp())


def small_world(world: World, *, ended_at: int | None = None) -> Sample:
    """Three contacts, a bot, a group, a channel; bursts, a reply hours later, an edited, a media, a forwarded and a service
    message. The same every time except for the dates, which end at `ended_at` (unix seconds; None: an hour ago).
    """
    owner, ada, ben, cleo = (world.add_account(invented_account(i, OWNER_ID + i)) for i in range(4))
    bot = add_bot(world)
    group = world.add_group(Group(500_001, "Weekend walkers", "group", {owner.id, ada.id, ben.id}))
    channel = world.add_group(Group(500_002, "Local weather", "channel", {owner.id, ada.id}))
    hour = 3600
    start = _ended(world, ended_at) - 49 * hour
    question = _say(world, ada, owner, "hey, are you coming on saturday?", start)
    _say(world, ada, owner, "we leave at nine", start + 4)
    _say(world, owner, ada, "sure", start + 60)
    _say(world, owner, ada, "i bring the coffee", start + 63)
    _say(world, ben, owner, "did you see the game", start + 2 * hour)
    _say(world, owner, ben, "only the second half", start + 8 * hour)  # six hours later
    _say(world, ada, owner, "which train?", start + 9 * hour)
    _say(world, owner, ada, "the one at 9:12", start + 12 * hour, reply_to=question.uid)
    edited = _say(world, owner, ada, "platform 4", start + 12 * hour + 5)
    edited.text, edited.edit_date = "platform 5", start + 12 * hour + 90
    photo = Media("photo", ONE_PIXEL_PNG, "image/png", width=1, height=1)
    _say(world, cleo, owner, "", start + 20 * hour, media=photo)
    _say(world, cleo, owner, "that is my new bike", start + 20 * hour + 6)
    _say(world, owner, cleo, "oh nice!", start + 20 * hour + 40)
    _say(world, owner, cleo, "what did it cost", start + 20 * hour + 44)
    _say(world, cleo, owner, "Rain from noon on.", start + 30 * hour, forwarded_from=channel.id)
    _say(world, ben, owner, "", start + 31 * hour, service="phone_call")
    world.send(ada.id, group.id, "who is in?", date=start + 32 * hour, silent=True)
    world.send(owner.id, group.id, "me", date=start + 32 * hour + 30, silent=True)
    world.send(ada.id, channel.id, "Rain from noon on.", date=start + 33 * hour, silent=True)
    _say(world, owner, bot, "/start", start + 40 * hour)
    _say(world, ben, owner, "ok see you tomorrow then", start + 49 * hour)
    return Sample(owner.id, (ada.id, cleo.id, ben.id), len(world.messages), bot.id, bot.token)


def _say(world: World, sender: Account, to: Account, text: str, date: int, **more: Any) -> Message:
    return world.send(sender.id, to.id, text, date=date, silent=True, **more)


def load_world(world: World, path: Path) -> Sample:
    """Add a world file to `world`. Errors: WorldFileError, before anything was added where possible."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorldFileError(f"{path}: not a readable JSON file ({type(error).__name__})") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise WorldFileError(f'{path}: expected an object with "format": "{FORMAT}"')
    for account in _items(path, data, "accounts", Account):
        world.add_account(Account(**{**account, "blocked": set(account.get("blocked", ()))}))
    for group in _items(path, data, "groups", Group):
        world.add_group(Group(**{**group, "members": set(group.get("members", ()))}))
    for made in _items(path, data, "connections", BusinessConnection):
        connection = BusinessConnection(**made)
        world.connections[connection.id] = connection
    count = _load_messages(world, path, data.get("messages", []))
    owner_id = data.get("owner_id")
    if owner_id not in world.accounts:
        raise WorldFileError(f"{path}: owner_id is not the id of one of the accounts")
    bot = next((a for a in world.accounts.values() if a.is_bot), None)
    people = [other for other in world.dialogs(owner_id) if other in world.accounts and not world.accounts[other].is_bot]
    contacts = sorted(people, key=lambda other: (-len(world.history(owner_id, other)), other))
    return Sample(owner_id, tuple(contacts), count, bot.id if bot else None, bot.token if bot else None)


def _items(path: Path, data: dict[str, Any], name: str, shape: type) -> Iterable[dict[str, Any]]:
    known = {f.name for f in fields(shape)}
    for place, item in enumerate(data.get(name, [])):
        if not isinstance(item, dict) or "id" not in item or not set(item) <= known:
            raise WorldFileError(f"{path}: {name}[{place}]: expected an object with id and only {', '.join(sorted(known))}")
        yield item


def _load_messages(world: World, path: Path, items: list[dict[str, Any]]) -> int:
    uids: dict[int, int] = {}  # key -> uid
    latest = 0
    for place, item in enumerate(items):
        where = f"{path}: messages[{place}]"
        try:
            sender_id, to, date = int(item["from"]), int(item["to"]), int(item["date"])
        except (KeyError, TypeError, ValueError):
            raise WorldFileError(f"{where}: expected from, to and date as integers") from None
        if sender_id not in world.accounts or (to not in world.accounts and to not in world.groups):
            raise WorldFileError(f"{where}: from and to must be among accounts and groups")
        if date < latest:
            raise WorldFileError(f"{where}: its date lies before the one of the message above it")
        latest = date
        media = item.get("media")
        message = world.send(
            sender_id,
            to,
            item.get("text", ""),
            date=date,
            entities=item.get("entities", ()),
            media=Media(**{**media, "content": base64.b64decode(media.get("content", ""))}) if media else None,
            reply_to=uids.get(item.get("reply_to", -1)),
            forwarded_from=item.get("forwarded_from"),
            reply_markup=item.get("reply_markup"),
            connection=world.connections.get(item.get("connection", "")),
            service=item.get("service"),
            silent=True,
        )
        message.edit_date = item.get("edit_date")
        message.reactions = {int(account_id): tuple(emoji) for account_id, emoji in item.get("reactions", {}).items()}
        if "key" in item:
            uids[item["key"]] = message.uid
    return len(items)


def dump_world(world: World, path: Path, *, owner_id: int) -> None:
    """Write the world as a file that `load_world` reads. Message ids are counted anew there, in the same order."""
    data = {
        "format": FORMAT,
        "owner_id": owner_id,
        "accounts": [_plain(asdict(a) | {"blocked": sorted(a.blocked)}) for a in world.accounts.values()],
        "groups": [asdict(g) | {"members": sorted(g.members)} for g in world.groups.values()],
        "connections": [asdict(c) for c in world.connections.values()],
        "messages": [_dumped(m) for m in sorted(world.messages.values(), key=lambda m: (m.date, m.uid))],
    }
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")


def _dumped(message: Message) -> dict[str, Any]:
    to = message.chat if isinstance(message.chat, int) else message.other(message.sender_id)
    item: dict[str, Any] = {"key": message.uid, "from": message.sender_id, "to": to, "date": message.date, "text": message.text}
    for name in ("entities", "reply_to", "forwarded_from", "edit_date", "reply_markup", "service"):
        item[name] = getattr(message, name)
    item["connection"] = message.business_connection_id
    item["reactions"] = {str(account_id): list(emoji) for account_id, emoji in message.reactions.items()}
    if message.media:
        item["media"] = _plain(asdict(message.media) | {"content": base64.b64encode(message.media.content).decode()})
    return _plain(item)


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    """Without what the defaults cover."""
    return {name: value for name, value in item.items() if value not in (None, "", 0, False, [], {})}
