"""Open the store: WAL, every commit on disk before it counts, newest schema."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from twin.errors import StoreError
from twin.store.driver import Group, InlineConnection, inline_engine

MIGRATIONS = Path(__file__).parent / "migrations"
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

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:  # type: ignore[override]
        connection = self._reading.pop() if self._reading else await InlineConnection(self).start()
        try:
            yield connection
        except BaseException:
            connection.close_now()
            raise
        connection.rest()
        self._reading.append(connection)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        async with self._turn:
            group = self._group or await self._begin_group()
            try:
                with group.member() as connection:
                    yield connection
            finally:
                if self._is_due:
                    self._commit()
        await group.on_disk()

    async def dispose(self, close: bool = True) -> None:
        self._commit_when_free()
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


def open_store(path: Path) -> Store:
    """Migrate the file to the newest schema (it is made if missing, readable by its owner alone) and open it."""
    migrate(path)
    engine = inline_engine(path)
    event.listen(engine, "connect", _configure)
    return Store(engine)


def migrate(path: Path, revision: str = "head") -> None:
    """Bring the file to `revision`. Raises StoreError if the file is no store or is newer than this program."""
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
        if "locked" in str(exc):
            raise StoreError(f"{path} is locked by another program.", mend="Stop the other `twin`, then try again.") from exc
        raise StoreError(f"{path} is not a usable database.", mend="Restore it from a backup, or name another data folder.") from exc
    finally:
        engine.dispose()


def _configure(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # FULL, not NORMAL: an acknowledged update or a send that was written down must survive power loss.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _configure_migration(connection: Any, record: Any) -> None:
    # A table whose checks change is copied, dropped and renamed. With foreign keys on, dropping it would delete what refers to it.
    _configure(connection, record)
    connection.execute("PRAGMA optimize")
    connection.execute("PRAGMA foreign_keys=OFF")
