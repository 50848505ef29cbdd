from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from chat_scene import Chat

from twin.store import open_store
from twin.store.engine import migrate


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, to be copied: migrations take longer than most tests."""
    path = tmp_path_factory.mktemp("stores") / "twin.sqlite"
    migrate(path)
    return path


@pytest.fixture
async def chat(tmp_path: Path, migrated: Path) -> AsyncIterator[Chat]:
    """Everything in one transaction."""
    store = open_store(shutil.copy(migrated, tmp_path / "twin.sqlite"))
    async with store.begin() as connection:
        yield Chat(connection)
    await store.dispose()
