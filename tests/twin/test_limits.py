"""How long ago the nth newest was: of one contact and of all, where there are so many, and where there are not."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store import drafts, limits, open_store

START = datetime(2026, 1, 1, tzinfo=UTC)
ADA, BEN = 1, 2


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[AsyncConnection]:
    store = open_store(tmp_path / "twin.sqlite")
    async with store.begin() as opened:
        yield opened
    await store.dispose()


async def write(connection: AsyncConnection, dialog_id: int, minute: int, *, goes: bool = True, author: str = "twin") -> None:
    draft = await drafts.add(connection, channel="bot", dialog_id=dialog_id, answers_message_id=1, text="x", at=at(minute), author=author)  # type: ignore[arg-type]
    await drafts.decide(connection, draft, "auto" if goes else "send", at(minute))


async def test_of_an_empty_store_nothing_is_used_up(connection: AsyncConnection) -> None:
    assert await limits.made_at(connection, "bot", ADA, nth_here=1, nth=1) == (None, None)
    assert await limits.automatic_at(connection, ADA, in_row=1, in_hour=1, in_day=1) == (None, None, None)


async def test_the_nth_newest_is_told_if_there_are_so_many(connection: AsyncConnection) -> None:
    for minute, contact in enumerate((ADA, BEN, ADA, BEN, ADA)):
        await write(connection, contact, minute)
    for nth, here, in_all in ((1, 4, 4), (2, 2, 3), (3, 0, 2)):
        assert await limits.made_at(connection, "bot", ADA, nth_here=nth, nth=nth) == (at(here), at(in_all))
        assert await limits.automatic_at(connection, ADA, in_row=nth, in_hour=nth, in_day=nth) == (at(here), at(here), at(in_all))
    assert await limits.made_at(connection, "bot", ADA, nth_here=4, nth=5) == (None, at(0))
    assert await limits.made_at(connection, "bot", ADA, nth_here=6, nth=6) == (None, None)
    assert await limits.automatic_at(connection, BEN, in_row=2, in_hour=3, in_day=6) == (at(1), None, None)
    assert await limits.made_at(connection, "account", ADA, nth_here=1, nth=1) == (None, at(4))


async def test_what_the_owner_wrote_or_approved_counts_for_no_limit_of_automatic_answers(connection: AsyncConnection) -> None:
    await write(connection, ADA, 0)
    await write(connection, ADA, 1, goes=False)
    await write(connection, ADA, 2, goes=False, author="owner")
    assert await limits.automatic_at(connection, ADA, in_row=1, in_hour=2, in_day=1) == (at(0), None, at(0))
    assert await limits.made_at(connection, "bot", ADA, nth_here=1, nth=2) == (at(1), at(0))
