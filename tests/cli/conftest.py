from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog


@pytest.fixture(autouse=True)
def nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No .env and no TWIN_* of the machine reach a test, and the log goes back to what it was."""
    for name in [name for name in os.environ if name.startswith("TWIN_") and name != "TWIN_MODELS"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield
    structlog.reset_defaults()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"
