from __future__ import annotations

import os
from pathlib import Path

import pytest
from adapter_folders import seal_adapter

from trainer.base_model import SAMPLE, prepare_base_model
from twin.generator import ActiveAdapter


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample model: made once under TWIN_MODELS, or for this session."""
    return prepare_base_model(SAMPLE, Path(os.environ.get("TWIN_MODELS") or tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="session")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> ActiveAdapter:
    return seal_adapter(base, tmp_path_factory.mktemp("adapters") / "voice-1")


@pytest.fixture(scope="session")
def other_adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> ActiveAdapter:
    return seal_adapter(base, tmp_path_factory.mktemp("adapters") / "voice-2", seed=2)
