"""A chat of the owner's account with Ada, in a store, without Telegram."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from twin import sending, takeover
from twin.settings import Settings
from twin.store import dialogs, drafts, messages, notices, outbox
from twin.store.drafts import Draft
from twin.store.outbox import Bubble
from twin.store.tables import metadata
from twin.turns import Message

ADA, BEN, EVE, OWNER = 201, 202, 203, 100
SETTINGS = Settings(_env_file=None, owner={"id": OWNER}, bot={"takeover_minutes": 30})  # type: ignore[call-arg, arg-type]
NOON = datetime(2027, 5, 1, 12, tzinfo=UTC)


@dataclass
class Chat:
    connection: AsyncConnection
    now: datetime = NOON
    ids: list[int] = field(default_factory=lambda: [0])

    def message(self, text: str, *, out: bool = False, **more: Any) -> Message:
        self.ids[0] += 1
        self.now += timedelta(seconds=1)
        return Message("account", ADA, self.ids[0], out, self.now, text, source="business", **more)

    async def writes(self, text: str = "hello") -> Message:
        message = self.message(text)
        await dialogs.save(self.connection, ADA, name="Ada", username=None)
        await messages.save(self.connection, [message])
        return message

    async def draft(self, text: str = "one\ntwo", *, reason: str | None = None) -> Draft:
        newest = await messages.newest_id(self.connection, "account", ADA)
        draft = await drafts.add(
            self.connection, channel="account", dialog_id=ADA, answers_message_id=newest, text=text, at=self.now, reason=reason
        )
        if reason:
            await drafts.change(self.connection, draft, state="expired")
        return draft

    async def approved(self, text: str = "one\ntwo", *, action: Any = "send") -> list[Bubble]:
        draft = await self.draft(text)
        await drafts.decide(self.connection, draft, action, self.now)
        await drafts.change(self.connection, draft, state="approved", is_automatic=action == "auto")
        await outbox.add(self.connection, draft, text.split("\n"))
        return await outbox.of_draft(self.connection, draft.id)

    async def begun(self, bubble: Bubble, way: Any = "business") -> Bubble:
        going = await sending.begin(self.connection, bubble, self.now, way=way)
        assert going
        return going

    async def owner_says(self, text: str, **more: Any) -> bool:
        said = self.message(text, out=True, **more)
        return await takeover.owner_spoke(self.connection, said, name="Ada", username=None, settings=SETTINGS, now=self.now)

    async def rows(self, table: str) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in await self.connection.execute(select(metadata.tables[table]))]

    async def states(self) -> list[str]:
        return [row["state"] for row in await self.rows("outbox")]

    async def ended(self) -> tuple[str, str | None]:
        row = (await self.rows("drafts"))[-1]
        return row["state"], row["reason"]


async def put(chat: Chat, text: str = "x", *, dialog_id: int = ADA, channel: str = "account", **more: Any) -> list[Bubble]:
    """An answer that the owner has approved; `more` are columns of all its bubbles."""
    draft = await drafts.add(chat.connection, channel=channel, dialog_id=dialog_id, answers_message_id=1, text=text, at=chat.now)
    await drafts.change(chat.connection, draft, state="approved")
    await outbox.add(chat.connection, draft, text.split("\n"))
    for bubble in await outbox.of_draft(chat.connection, draft.id):
        if more:
            await outbox.change(chat.connection, bubble.id, **more)
    return await outbox.of_draft(chat.connection, draft.id)


def texts(bubbles: list[Bubble]) -> list[str]:
    return [bubble.text for bubble in bubbles]


async def arrive(chat: Chat, bubble: Bubble, message_id: int | None = 50) -> bool:
    more = await sending.arrived(chat.connection, bubble, message_id=message_id, sent_at=chat.now, settings=SETTINGS, now=chat.now)
    return more


async def at(chat: Chat, bubble: Bubble) -> Bubble:
    """The bubble as it is now."""
    found = await outbox.get(chat.connection, bubble.id)
    assert found
    return found


async def told(chat: Chat) -> list[str]:
    return [notice.text for notice in await notices.untold(chat.connection)]


async def revision(chat: Chat) -> int:
    return int((await chat.rows("drafts"))[-1]["revision"])
