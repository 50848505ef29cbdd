"""Writers of one process share commits, and not each other's failures; another process's lock is awaited, not sat out."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.store import dialogs, facts, messages, open_store
from twin.store.engine import Store
from twin.store.tables import facts as table
from twin.turns import Message


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = open_store(tmp_path / "twin.sqlite")
    yield opened
    await opened.dispose()


def count_commits(store: Store) -> list[None]:
    commits: list[None] = []
    event.listen(store.sync_engine, "commit", lambda _: commits.append(None))
    return commits


async def write(store: Store, name: str) -> None:
    async with store.begin() as connection:
        await facts.put(connection, name, 1)


async def names(store: Store) -> set[str]:
    async with store.connect() as connection:
        return set((await connection.execute(select(table.c.name))).scalars())


async def test_writers_that_are_ready_together_share_one_commit(store: Store) -> None:
    commits = count_commits(store)
    await asyncio.gather(*(write(store, f"fact {i}") for i in range(20)))
    assert len(commits) == 1
    assert len(await names(store)) == 20


async def test_a_writer_goes_on_when_its_row_is_on_disk(store: Store, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "twin.sqlite")
    seen: list[int] = []

    async def write_and_look(name: str) -> None:
        await write(store, name)
        seen.append(other.execute("SELECT count(*) FROM facts WHERE name = ?", (name,)).fetchone()[0])

    await asyncio.gather(*(write_and_look(f"fact {i}") for i in range(5)))
    other.close()
    assert seen == [1] * 5


async def test_one_that_fails_takes_no_other_along(store: Store) -> None:
    async def fail() -> None:
        async with store.begin() as connection:
            await facts.put(connection, "lost", 1)
            await dialogs.set_mode(connection, 1, None)
            await connection.exec_driver_sql("INSERT INTO facts (name, value) VALUES ('lost', NULL)")

    before, failed, after = await asyncio.gather(write(store, "before"), fail(), write(store, "after"), return_exceptions=True)
    assert (before, after) == (None, None)
    assert isinstance(failed, IntegrityError)
    assert await names(store) == {"before", "after"}


async def test_one_that_is_cancelled_in_the_middle_takes_no_other_along(store: Store) -> None:
    begun = asyncio.Event()

    async def wait_inside() -> None:
        async with store.begin() as connection:
            await facts.put(connection, "lost", 1)
            begun.set()
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait_inside())
    await begun.wait()
    other = asyncio.create_task(write(store, "kept"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting, other})
    assert waiting.cancelled()
    assert await names(store) == {"kept"}


async def test_a_transaction_that_sqlite_itself_rolled_back_is_told_to_all_its_members(store: Store) -> None:
    async def roll_back() -> None:
        async with store.begin() as connection:
            await connection.exec_driver_sql("ROLLBACK")
            raise ZeroDivisionError

    told = await asyncio.gather(write(store, "before"), roll_back(), write(store, "after"), return_exceptions=True)
    assert [type(one) for one in told] == [OperationalError, ZeroDivisionError, OperationalError]
    assert await names(store) == set()
    await write(store, "later")
    assert await names(store) == {"later"}


async def test_while_another_process_has_the_lock_the_loop_goes_on(store: Store, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "twin.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(write(store, "fact"))
    for _ in range(5):
        await asyncio.sleep(0.01)
    assert not writing.done()
    other.execute("COMMIT")
    other.close()
    await asyncio.wait_for(writing, 5)
    assert await names(store) == {"fact"}


async def test_rows_may_be_read_while_the_table_changes(store: Store) -> None:
    await asyncio.gather(*(write(store, f"fact {i}") for i in range(5)))
    async with store.begin() as connection:
        for row in await connection.execute(select(table.c.name)):
            await facts.put(connection, f"{row[0]} again", 1)
    assert len(await names(store)) == 10


async def value(connection: AsyncConnection) -> object:
    return await facts.get(connection, "fact")


async def test_a_fact_that_was_read_is_read_anew_once_it_changed(store: Store) -> None:
    other = open_store(Path(str(store.url.database)))
    async with store.begin() as connection:
        assert await value(connection) is None
        await facts.put(connection, "fact", [1])
        assert await value(connection) == [1]
        await facts.forget(connection, "fact")
        assert await value(connection) is None
        await facts.put(connection, "fact", [2])
    for looked in (store.connect, store.begin):
        async with looked() as connection:
            assert await value(connection) == [2]
    async with other.begin() as connection:
        await facts.put(connection, "fact", [3])
    for looked in (store.connect, store.begin):
        async with looked() as connection:
            assert await value(connection) == [3], "what another process wrote"
    await other.dispose()


async def test_a_fact_of_a_transaction_that_failed_is_not_remembered(store: Store) -> None:
    await write(store, "fact")

    async def fail() -> None:
        async with store.begin() as connection:
            await facts.put(connection, "fact", 9)
            assert await value(connection) == 9
            raise ZeroDivisionError

    async def look() -> object:
        async with store.begin() as connection:
            return await value(connection)

    failed, seen = await asyncio.gather(fail(), look(), return_exceptions=True)
    assert isinstance(failed, ZeroDivisionError)
    assert seen == 1
    async with store.connect() as connection:
        assert await value(connection) == 1


def many_messages() -> list[Message]:
    at = datetime(2025, 1, 1, tzinfo=UTC)
    return [Message("account", 7, number, False, at, f"message {number}") for number in range(1, 1001)]


async def count_messages(store: Store) -> int:
    async with store.connect() as connection:
        return len(await messages.history(connection, 7))


async def test_the_loop_goes_on_while_many_rows_are_written(store: Store) -> None:
    steps, ended = 0, asyncio.Event()

    async def others() -> None:
        nonlocal steps
        while not ended.is_set():
            steps += 1
            await asyncio.sleep(0)

    async def save() -> None:
        async with store.begin() as connection:
            before = steps
            assert await messages.save(connection, many_messages()) == 1000
            assert steps > before
        ended.set()

    await asyncio.gather(save(), others())
    assert await count_messages(store) == 1000


async def test_many_rows_whose_writer_is_cancelled_are_not_there_and_the_next_writer_is_not_disturbed(store: Store) -> None:
    inside = asyncio.Event()

    async def save() -> None:
        async with store.begin() as connection:
            inside.set()
            await messages.save(connection, many_messages())

    task = asyncio.create_task(save())
    await inside.wait()
    for _ in range(3):  # whoever stops a program may press Ctrl-C more than once
        task.cancel()
        await asyncio.sleep(0)
    await write(store, "after")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await count_messages(store) == 0
    assert await names(store) == {"after"}


async def test_an_error_in_many_rows_is_the_same_as_in_one(store: Store) -> None:
    broken = [message._replace(text=None) for message in many_messages()]  # type: ignore[arg-type]
    with pytest.raises(IntegrityError):
        async with store.begin() as connection:
            await messages.save(connection, broken)
    await write(store, "after")
    assert await count_messages(store) == 0


async def test_a_store_that_is_closed_while_many_rows_are_written_has_all_of_them(store: Store, tmp_path: Path) -> None:
    inside = asyncio.Event()

    async def save() -> None:
        async with store.begin() as connection:
            for start in range(0, 5000, 1000):
                inside.set()
                await messages.save(connection, [m._replace(message_id=m.message_id + start) for m in many_messages()])

    task = asyncio.create_task(save())
    await inside.wait()
    await store.dispose()
    await task
    other = sqlite3.connect(tmp_path / "twin.sqlite")
    assert other.execute("SELECT count(*) FROM messages").fetchone() == (5000,)
    other.close()
