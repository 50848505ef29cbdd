"""SQLite on the event loop itself: a statement runs at once, without a thread's turn or a greenlet's.

A statement of the bot takes SQLite some ten microseconds; handing it to a thread and back takes twenty times that. And writers of
one process that wait for each other inside SQLite starve, because its waiting is not fair: with 200 chats writing at once the
poller got no turn in 10 s and the bot ended with "database is locked". Here a transaction that awaits nothing but the store runs
in one piece, so writers of one process do not meet. What waits is another process's lock, and that is awaited, not sat out.

A commit's fsync does hold the loop up, for 0.2 ms on the disk that this was measured on: whoever could run meanwhile would wait
for the store anyway. What takes SQLite milliseconds runs beside the loop (`run_beside`); whole chats by the thousand are read by
`twin.history`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, CursorResult, Engine, RootTransaction, create_engine, event
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

LOCKED_SECONDS = 10.0  # how long a writer waits for another process
LONGEST_PAUSE = 0.025  # between two looks at the lock, which is what SQLite itself would do


class InlineCursor(sqlite3.Cursor):
    """Has all its rows once it has executed: they may be read while other statements change the table, and no statement is
    left unfinished, which would keep a snapshot or a lock."""

    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        super().execute(sql, parameters)
        self._rows = deque(super().fetchall() if self.description else ())
        return self

    def fetchone(self) -> Any:
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = 1) -> list[Any]:
        return [self._rows.popleft() for _ in range(min(size or 1, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        rows = list(self._rows)
        self._rows.clear()
        return rows


class InlineDriver(sqlite3.Connection):
    def cursor(self, factory: Any = InlineCursor) -> Any:
        return super().cursor(factory)

    @cached_property
    def at_once(self) -> sqlite3.Cursor:
        """One for statements whose rows are fetched before the next one runs."""
        return sqlite3.Connection.cursor(self)


class InlineConnection(AsyncConnection):
    """An AsyncConnection that runs everything at once. `begin_writing` alone may wait."""

    __slots__ = ("_driver", "cache")

    async def start(self, is_ctxmanager: bool = False) -> Self:
        self.sync_connection = self._assign_proxied(self.sync_engine.connect())
        driver = self.sync_connection.connection.dbapi_connection
        assert isinstance(driver, InlineDriver)
        self._driver: InlineDriver = driver
        self.sync_connection.detach()  # it is the store's for good, not the pool's
        self.cache: dict[str, Any] = {}  # what was read in this transaction; whoever changes it there forgets it here
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close_now()

    async def close(self) -> None:
        self.close_now()

    def close_now(self) -> None:
        self._proxied.close()

    def rest(self) -> None:
        """End its transaction, if it is in one; it may be used again."""
        self.cache.clear()
        if self._proxied.in_transaction():
            self._proxied.rollback()
        elif self._driver.in_transaction:
            self._driver.rollback()

    async def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> CursorResult[Any]:
        return self._proxied.execute(statement, parameters, execution_options=execution_options)

    async def exec_driver_sql(self, statement: str, parameters: Any = None, execution_options: Any = None) -> CursorResult[Any]:
        return self._proxied.exec_driver_sql(statement, parameters, execution_options)

    async def begin_writing(self) -> RootTransaction:
        """Begin with the write lock. Raises OperationalError if another process keeps it for LOCKED_SECONDS."""
        connection = self._proxied.execution_options(is_writer=True)
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + LOCKED_SECONDS, 0.001
        while True:
            try:
                return connection.begin()
            except sqlite3.OperationalError as exc:
                if "locked" not in str(exc) or clock() > deadline:
                    raise OperationalError("BEGIN IMMEDIATE", None, exc) from exc
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    @property
    def driver(self) -> InlineDriver:
        """SQLite's own connection, in a transaction."""
        if not self._driver.in_transaction:
            self._driver.at_once.execute("BEGIN")
        return self._driver


def run_at_once(connection: AsyncConnection, sql: str, parameters: tuple[Any, ...]) -> sqlite3.Cursor:
    """A statement past SQLAlchemy's own execution, which takes longer than SQLite's. Raises its errors all the same. The rows have
    to be fetched before the next statement."""
    assert isinstance(connection, InlineConnection)
    try:
        return connection.driver.at_once.execute(sql, parameters)
    except sqlite3.Error as exc:
        raise DBAPIError.instance(sql, parameters, exc, sqlite3.Error) from exc


# Its own, so that nobody holds the write lock while he waits for somebody's DNS. Two, because two stores may be open.
_BESIDE = ThreadPoolExecutor(max_workers=2, thread_name_prefix="store")


async def run_beside(connection: AsyncConnection, sql: str, parameters: tuple[Any, ...]) -> int:
    """A statement that takes milliseconds, in a thread, so that the loop goes on; returns how many rows it changed.

    It runs to its end even if it is cancelled: nobody may touch the connection meanwhile."""
    running = asyncio.get_running_loop().run_in_executor(_BESIDE, run_at_once, connection, sql, parameters)
    try:
        return (await asyncio.shield(running)).rowcount
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        running.exception()  # seen: whoever cancelled it does not ask
        raise


def transaction_cache(connection: AsyncConnection) -> dict[str, Any]:
    """Holds until the transaction ends or is rolled back."""
    assert isinstance(connection, InlineConnection)
    return connection.cache


class Group:
    """Transactions that share one commit. Each is a savepoint, so one that fails takes no other along."""

    def __init__(self, connection: InlineConnection, transaction: RootTransaction) -> None:
        self._connection, self._transaction, self._driver = connection, transaction, connection.driver
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def enter(self) -> InlineConnection:
        if not self._driver.in_transaction:  # another member met a full disk, and SQLite took all of them back
            raise OperationalError("SAVEPOINT", None, sqlite3.OperationalError("SQLite has rolled the transaction back"))
        self._driver.at_once.execute("SAVEPOINT member")
        return self._connection

    def leave(self, *, failed: bool) -> None:
        """The end of the member that entered last."""
        run = self._driver.at_once.execute
        if failed:
            self._connection.cache.clear()
            if self._driver.in_transaction:  # a full disk makes SQLite itself roll everything back
                run("ROLLBACK TO member")
                run("RELEASE member")
        else:
            run("RELEASE member")

    def commit(self) -> bool:
        """All of them are on disk, or none is and each of them is told, and the connection is closed."""
        self._connection.cache.clear()
        lost = not self._driver.in_transaction
        try:
            self._transaction.commit()
            if lost:
                raise OperationalError("COMMIT", None, sqlite3.OperationalError("SQLite has rolled the transaction back"))
        except DatabaseError as exc:
            self._connection.close_now()
            self._settled.set_exception(exc)
            return False
        self._settled.set_result(None)
        return True

    async def on_disk(self) -> None:
        await asyncio.shield(self._settled)


def inline_engine(path: Path) -> Engine:
    """An engine for InlineConnection, with any number of connections: waiting for one would stop the loop."""
    driver = {"factory": InlineDriver, "cached_statements": 500, "isolation_level": None}  # None: it opens no transactions of its own
    engine = create_engine(f"sqlite:///{path}", connect_args=driver, max_overflow=-1)
    engine.dialect.is_async = True  # AsyncEngine insists on it
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    # A transaction that reads and then writes would fail with "database is locked" if another process wrote in between;
    # taking the write lock first makes it wait instead. A reader must not take it: building a dataset reads
    # for minutes, and the bot's inbox would be locked out.
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    if not connection.get_execution_options().get("is_writer", False):
        if not driver.in_transaction:
            driver.execute("BEGIN")
        return
    (timeout,) = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute("PRAGMA busy_timeout=0")  # begin_writing does the waiting
    try:
        driver.execute("BEGIN IMMEDIATE")
    finally:
        driver.execute(f"PRAGMA busy_timeout={timeout}")
