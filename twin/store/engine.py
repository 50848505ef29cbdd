"""Open the store: WAL, every commit on disk before it counts, newest schema."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from twin.errors import StoreError
from twin.foreseen import of_store
from twin.store.driver import Group, InlineConnection, inline_engine

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "0009"  # the newest of them
BUSY_SECONDS = 10
_ALEMBIC = threading.Lock()  # its context is one for the whole process


class Store(AsyncEngine):
    """`begin` is for writing, and waits for other writers; `connect` is for reading, and neither waits nor makes others wait.

    Writers of this process that are ready at the same time share a commit, and so the wait for the disk: each of them goes on
    when it is there. Connections are kept open: SQLAlchemy takes longer to open and to close one than a small statement runs.
    """

    _connection_cls = InlineConnection

    def __init__(self, sync_engine: Engine) -> None:
        super().__init__(sync_engine)
        self._turn = asyncio.Lock()  # one writes at a time; most of them in one piece
        self._group: Group | None = None
        self._is_due = False
        self._reading: list[InlineConnection] = []  # open and free
        self._writing: InlineConnection | None = None

    def connect(self) -> _Reading:  # type: ignore[override]
        return _Reading(self)

    def begin(self) -> _Writing:  # type: ignore[override]
        return _Writing(self)

    async def dispose(self, close: bool = True) -> None:
        """Whoever is writing may end: a statement that runs beside the loop must not lose its transaction."""
        async with self._turn:
            self._commit()
            for connection in (*self._reading, *([self._writing] if self._writing else [])):
                connection.close_now()
            self._reading, self._writing = [], None
        await super().dispose(close)

    async def _begin_group(self) -> Group:
        connection = self._writing = self._writing or await InlineConnection(self).start()
        try:
            transaction = await connection.begin_writing()
        except BaseException:
            connection.close_now()
            self._writing = None
            raise
        self._group = Group(connection, transaction)
        # Whoever is ready already has run before this comes up.
        asyncio.get_running_loop().call_soon(self._commit_when_free)
        return self._group

    def _commit_when_free(self) -> None:
        if self._turn.locked():
            self._is_due = True  # by the one who is writing, when it has written
        else:
            self._commit()

    def _commit(self) -> None:
        group, self._group, self._is_due = self._group, None, False
        if group and not group.commit():
            self._writing = None


class _Reading:
    """A class and not a generator, as is the next one: half the time, and an answer enters them ten times."""

    __slots__ = ("_connection", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store

    async def __aenter__(self) -> AsyncConnection:
        free = self._store._reading
        self._connection = free.pop() if free else await InlineConnection(self._store).start()
        return self._connection

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self._connection.close_now()
        else:
            self._connection.rest()
            self._store._reading.append(self._connection)


class _Writing:
    __slots__ = ("_group", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store

    async def __aenter__(self) -> AsyncConnection:
        await self._store._turn.acquire()
        try:
            self._group = self._store._group or await self._store._begin_group()
            return self._group.enter()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._group.leave(failed=kind is not None)
        finally:
            self._leave()
        if kind is None:
            await self._group.on_disk()

    def _leave(self) -> None:
        if self._store._is_due:
            self._store._commit()
        self._store._turn.release()


def open_store(path: Path) -> Store:
    """Migrate the file to the newest schema (it is made if missing, readable by its owner alone) and open it."""
    if not _is_at_head(path):
        migrate(path)
    engine = inline_engine(path)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "connect", _keep_in_memory)
    return Store(engine)


def _is_at_head(path: Path) -> bool:
    """Nearly always, and then Alembic need not be imported (0.3 s) nor asked (20 ms)."""
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(path, timeout=0)) as connection:
            connection.execute("PRAGMA optimize")
            return connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
    except sqlite3.DatabaseError:
        return False  # not migrated yet, locked, or no database: `migrate` tells them apart, and waits


def migrate(path: Path, revision: str = HEAD) -> None:
    """Bring the file to `revision`. Raises StoreError if the file is no store or is newer than this program."""
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _configure_migration)
    try:
        with _ALEMBIC, engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except CommandError as exc:
        raise StoreError(
            f"{path} was written by a newer version of this program.", mend="Update the program, or name another data folder."
        ) from exc
    except DatabaseError as exc:
        unusable = StoreError(f"{path} is not a usable database.", mend="Restore it from a backup, or name another data folder.")
        raise of_store(exc, path) or unusable from exc
    finally:
        engine.dispose()


def _configure(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # FULL, not NORMAL: an acknowledged update or a send that was written down must survive power loss.
    # The timeout comes first: asking for WAL waits for a lock as well.
    for pragma in (f"busy_timeout={BUSY_SECONDS * 1000}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _keep_in_memory(connection: Any, _record: Any) -> None:
    # What a savepoint might have to put back: else SQLite makes a temporary file as soon as that is 64 KiB, for most answers.
    connection.execute("PRAGMA temp_store=MEMORY")


def _configure_migration(connection: Any, record: Any) -> None:
    # A table whose checks change is copied, dropped and renamed. With foreign keys on, dropping it would delete what refers to it.
    _configure(connection, record)
    connection.execute("PRAGMA optimize")
    connection.execute("PRAGMA foreign_keys=OFF")
