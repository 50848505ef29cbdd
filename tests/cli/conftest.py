from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from cli_scene import answers_for, running_sandbox
from nights_scene import Nights, settle
from worlds import save_small_talk


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


@pytest.fixture
def nights(tmp_path: Path, data: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nights]:
    """A Telegram with small talk in it, the owner signed in, everybody agreed."""
    with running_sandbox(tmp_path, save_small_talk(tmp_path / "world.json", questions=80, days_between=2)) as sandbox:
        recipe = {"R": "8", "ALPHA": "16", "LEARNING_RATE": "2e-2", "BATCH_TOKENS": "256", "EPOCHS": "10"}
        engine = {"TEMPERATURE": "0.3", "MAX_NEW_TOKENS": "24"}
        settings = answers_for(sandbox) | {f"TWIN_TRAINING__{name}": value for name, value in recipe.items()}
        settings |= {f"TWIN_ENGINE__{name}": value for name, value in engine.items()}
        for name, value in (
            settings | {"TWIN_MODEL__BASE": str(tiny), "TWIN_DATASET__REPEAT_CAP": "500", "TWIN_DATASET__ANCHOR_FRACTION": "0.2"}
        ).items():
            monkeypatch.setenv(name, value)
        settle(sandbox, data, tmp_path)
        yield Nights(sandbox, data, [])
