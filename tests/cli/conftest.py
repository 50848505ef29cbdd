from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from nights_scene import LATER_EPOCHS, QUESTIONS, Nights, telegram
from small_models import save_tiny_llama
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
    """A base model with two random layers and the sample model's tokenizer. Both engines serve it."""
    from trainer.base_model import SAMPLE, prepare_base_model

    base = prepare_base_model(SAMPLE, Path(os.environ["TWIN_MODELS"]))
    return save_tiny_llama(tmp_path_factory.mktemp("bases") / "tiny", base, head_dim=32)


@pytest.fixture(scope="session")
def small_talk_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_talk(tmp_path_factory.mktemp("world") / "world.json", questions=QUESTIONS, days_between=2)


@pytest.fixture(scope="session")
def first_night(tmp_path_factory: pytest.TempPathFactory, tiny: Path, small_talk_world: Path) -> Nights:
    """The first night of a Telegram with small talk in it, played once; its data folder is for copying."""
    folder = tmp_path_factory.mktemp("first-night")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with telegram(folder, small_talk_world, tiny, patch, folder / "data") as nights:
            nights.play()
    return nights


@pytest.fixture
def nights(tmp_path: Path, data: Path, tiny: Path, small_talk_world: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nights]:
    """A Telegram with small talk in it, the owner signed in, everybody agreed, no night yet."""
    with telegram(tmp_path, small_talk_world, tiny, monkeypatch, data) as found:
        yield found


@pytest.fixture
def next_nights(
    tmp_path: Path, data: Path, tiny: Path, small_talk_world: Path, first_night: Nights, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Nights]:
    """The same on the day after the first night, whose adapter is live."""
    first_night.copy_to(data)
    with telegram(tmp_path, small_talk_world, tiny, monkeypatch, data) as found:
        monkeypatch.setenv("TWIN_TRAINING__EPOCHS", LATER_EPOCHS)
        found.played += first_night.played
        yield found
