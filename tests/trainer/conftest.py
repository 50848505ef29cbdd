from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dataset_scene import toy_dataset
from small_models import save_tiny_llama

from trainer.base_model import SAMPLE, prepare_base_model
from twin.store import open_store
from twin.store.engine import Store


@pytest.fixture(scope="session")
def base() -> Path:
    """The sample model: made once under TWIN_MODELS (tests/conftest.py sets it)."""
    return prepare_base_model(SAMPLE, Path(os.environ["TWIN_MODELS"]))


@pytest.fixture(scope="session")
def tiny_base(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random layers with the sample model's tokenizer."""
    return save_tiny_llama(tmp_path_factory.mktemp("bases") / "tiny", base)


@pytest.fixture(scope="session")
def toy(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed dataset for `tiny_base`."""
    return toy_dataset(tmp_path_factory.mktemp("toy"), tiny_base)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = open_store(tmp_path / "twin.sqlite")
    yield opened
    await opened.dispose()
