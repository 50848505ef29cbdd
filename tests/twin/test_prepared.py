"""Prepared statements: what goes in and what comes out has the columns' types, as with SQLAlchemy's own execution."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select

from twin.store import open_store
from twin.store.prepared import Prepared, given
from twin.store.tables import drafts

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
NAMES = ("channel", "dialog_id", "answers_message_id", "text", "mean_logprob", "created_at", "settled_at", "flags", "is_automatic")
ONE = {
    "channel": "bot",
    "dialog_id": 2001,
    "answers_message_id": 7,
    "text": 'it\'s "quoted", and {braced}',
    "mean_logprob": -0.5,
    "created_at": NOW,
    "settled_at": NOW + timedelta(seconds=1),
    "flags": ["money", "row"],
    "is_automatic": True,
}
OTHER = ONE | {"dialog_id": 2002, "mean_logprob": None, "settled_at": None, "flags": [], "is_automatic": False}
DEFAULTS = {"variant": 1, "author": "twin", "revision": 1, "shown_revision": 0}
COLUMNS = [drafts.c[name] for name in NAMES]
ADD = Prepared(drafts.insert().values({name: given(name) for name in (*NAMES, *DEFAULTS)} | {"state": "pending"}))
ALL = Prepared(select(*COLUMNS).where(drafts.c.state == "pending").order_by(drafts.c.id))
SINCE = Prepared(select(drafts.c.dialog_id).where(drafts.c.settled_at >= given("since")))


@pytest.fixture
async def store(tmp_path):
    engine = open_store(tmp_path / "twin.sqlite")
    yield engine
    await engine.dispose()


async def test_rows_come_back_as_they_went_in_and_as_sqlalchemy_reads_them(store):
    async with store.begin() as connection:
        ids = [await ADD.insert(connection, **row, **DEFAULTS) for row in (ONE, OTHER)]
        rows = await ALL.rows(connection)
        assert ids == [1, 2]
        assert [dict(zip(NAMES, row, strict=True)) for row in rows] == [ONE, OTHER]
        assert [type(value) for row in rows for value in row] == [type(value) for row in (ONE, OTHER) for value in row.values()]
        assert [tuple(row) for row in await connection.execute(select(*COLUMNS).order_by(drafts.c.id))] == rows
        assert await ALL.first(connection) == rows[0]
        assert await SINCE.rows(connection, since=NOW) == [(2001,)]
        assert await SINCE.first(connection, since=NOW + timedelta(seconds=2)) is None


async def test_what_sqlalchemy_wrote_reads_the_same(store):
    async with store.begin() as connection:
        await connection.execute(insert(drafts).values(**ONE, **DEFAULTS, state="pending"))
        assert [dict(zip(NAMES, row, strict=True)) for row in await ALL.rows(connection)] == [ONE]


async def test_a_value_that_is_not_given_is_missed_and_not_taken_for_nothing(store):
    async with store.begin() as connection:
        with pytest.raises(KeyError, match="since"):
            await SINCE.rows(connection)
