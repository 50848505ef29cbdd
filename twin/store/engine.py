"""Open the store: WAL, every commit on disk before it counts, newest schema."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from twin.errors import StoreError
from twin.store.driver import InlineConnection, inline_engine

MIGRATIONS = Path(__file__).parent / "migrations"
_ALEMBIC = threading.Lock()  # its context is one for the whole process


class Store(AsyncEngine):
    """`begin` is for writing, and waits for other writers; `connect` is for reading, and neither waits nor makes others wait."""

    _connection_cls = InlineConnection

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        connection = InlineConnection(self)
        async with connection:
            with await connection.begin_writing():
                yield connection


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
