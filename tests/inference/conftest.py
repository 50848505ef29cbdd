from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from adapter_folders import seal_adapter
from small_models import save_tiny_llama
from vllm_scene import Served

from inference.vllm import VllmGenerator
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


@pytest.fixture(scope="session")
def two_layers(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("bases") / "tiny", base, head_dim=32)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(model: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """A vLLM server for the `model` of the file that asks for it. It has the routes that sleeping needs, too, though no CPU can sleep."""
    async with AsyncExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("VLLM_SERVER_DEV_MODE", "1")
        patch.delenv("VLLM_LOGGING_LEVEL", raising=False)  # which importing trl sets, for its templates; the log lists the routes
        served = Served(model, tmp_path_factory.mktemp("vllm") / "vllm.log", stack)
        await served.start()
        yield served


@pytest_asyncio.fixture(loop_scope="module")
async def client(served: Served) -> AsyncIterator[VllmGenerator]:
    client = served.client()
    yield client
    await client.use(None)
    await client.close()
