from __future__ import annotations

import os
import sys
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


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model with two random layers and the sample model's tokenizer."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "trainer"))
    from small_models import save_tiny_llama

    from trainer.base_model import SAMPLE, prepare_base_model

    base = prepare_base_model(SAMPLE, Path(os.environ["TWIN_MODELS"]))
    return save_tiny_llama(tmp_path_factory.mktemp("bases") / "tiny", base)
