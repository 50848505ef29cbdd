"""Whole chats read by the database driver alone: a process that reads a million messages has no other use for the store."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from operator import itemgetter
from pathlib import Path

from twin.times import since_1970
from twin.turns import Message

QUERY = (
    "SELECT sent_at, message_id, out, text, kind, reply_to_id, forwarded, via_bot, source, unattended"
    " FROM messages WHERE channel = ? AND dialog_id = ? AND deleted_at IS NULL"
)


class History:
    """An open store file, for reading. What others write meanwhile is seen from one dialog to the next."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path)
        self._connection.execute("PRAGMA query_only = ON")

    def close(self) -> None:
        self._connection.close()

    def messages(self, channel: str, dialog_id: int) -> list[Message]:
        """One channel of a dialog, oldest first, deleted ones left out: what `twin.store.messages.history` gives of it."""
        with closing(self._connection.execute(QUERY, (channel, dialog_id))) as cursor:
            rows = cursor.fetchall()
        rows.sort(key=itemgetter(0, 1))  # they come by id, which is almost the order of time
        return [
            Message(
                channel,
                dialog_id,
                message_id,
                out == 1,
                since_1970(sent_at),
                text,
                kind,
                reply_to_id,
                forwarded == 1,
                via_bot == 1,
                source,
                unattended == 1,
            )
            for sent_at, message_id, out, text, kind, reply_to_id, forwarded, via_bot, source, unattended in rows
        ]
