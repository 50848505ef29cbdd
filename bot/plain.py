"""The short way in: plain words of a contact are taken in with the poll that brought them, in the transaction that keeps its updates.

That is most of what comes. The words stand in the store before Telegram is told that they have come, as an update in the inbox would,
without the inbox's row, the worker and the dispatcher, which together cost as much as the draft. Order is kept: nothing takes the short
way while anything waits in the inbox, or came before it in the same poll.

Only a message all of whose fields are known here is plain. Whatever else there may be about it (a command, a reply, media, a forward, a
group, a bot, a field that Telegram adds tomorrow) goes through the inbox, to the handlers and their guards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.context import Twin, utc_now
from twin import replies
from twin.names import clean_name
from twin.store import connections, inbox
from twin.turns import Message

log = structlog.get_logger()
FIELDS = {"message_id", "from", "chat", "date", "text"}
MORE_FIELDS = {"entities", "link_preview_options"}  # they change nothing


class Plain(NamedTuple):
    """`connection_id`: of the connection to the owner's account through which it was seen; None: it was written to the bot."""

    said: Message
    name: str
    username: str | None
    connection_id: str | None = None


def plain(update: Mapping[str, Any], owner_id: int) -> Plain | None:
    """The words of a contact, if the update brings nothing else."""
    kind = "message" if "message" in update else "business_message"
    raw = update.get(kind)
    if not raw or len(update) != 2 or not raw.keys() >= FIELDS:
        return None
    connection_id, is_business = raw.get("business_connection_id"), kind == "business_message"
    if bool(connection_id) != is_business or raw.keys() - FIELDS - MORE_FIELDS != ({"business_connection_id"} if is_business else set()):
        return None
    sender, chat, text = raw["from"], raw["chat"], raw["text"]
    if chat["type"] != "private" or chat["id"] != sender["id"] or sender["id"] == owner_id or sender.get("is_bot") is not False:
        return None
    if not text or (text.lstrip().startswith("/") and connection_id is None):
        return None
    channel, source = ("account", "business") if connection_id else ("bot", "received")
    sent_at = datetime.fromtimestamp(raw["date"], UTC)
    said = Message(channel, chat["id"], raw["message_id"], False, sent_at, text, source=source)
    person = chat if connection_id else sender
    name = clean_name(f"{person.get('first_name') or ''} {person.get('last_name') or ''}")
    return Plain(said, name or person.get("username") or "", person.get("username"), connection_id)


async def take_in(connection: AsyncConnection, updates: Sequence[Mapping[str, Any]], twin: Twin) -> Sequence[Mapping[str, Any]]:
    """Take in the plain ones at the front; returns the others, which are for the inbox. Repeating it changes nothing."""
    if await inbox.first(connection):
        return updates
    for place, update in enumerate(updates):
        found = plain(update, twin.owner_id)
        if found is None or not await _is_owners(connection, found):
            return updates[place:]
        said, now = found.said, utc_now()
        wanted = await replies.receive(connection, said, name=found.name, username=found.username, settings=twin.settings, now=now)
        log.info("message.received", channel=said.channel, dialog_id=said.dialog_id, message_id=said.message_id, wanted=wanted)
    return ()


async def _is_owners(connection: AsyncConnection, found: Plain) -> bool:
    """Whether a connection through which it was seen is known, and so the owner's; `bot.guard` asks about the others."""
    return found.connection_id is None or await connections.get(connection, found.connection_id) is not None
