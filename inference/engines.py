"""Which engine the settings ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twin.generator import Generator
from twin.settings import Settings

if TYPE_CHECKING:
    from inference.vllm import VllmGenerator


def open_generator(settings: Settings, base: Path) -> Generator:
    """The engine of `settings.engine.kind` for the prepared base model folder `base`. Nothing is loaded or dialled yet."""
    engine = settings.engine
    if engine.kind == "vllm":
        return open_vllm(settings, base)
    from inference.local import LocalGenerator

    return LocalGenerator(base, seconds=engine.seconds, max_prompt_tokens=engine.max_prompt_tokens)


def open_vllm(settings: Settings, base: Path) -> VllmGenerator:
    """A client of the settings' vLLM server, whatever engine answers."""
    from inference.vllm import VllmGenerator

    engine = settings.engine
    return VllmGenerator(
        base,
        url=engine.url,
        served_name=settings.model.base,
        api_key=engine.api_key.get_secret_value() if engine.api_key else None,
        seconds=engine.seconds,
        max_prompt_tokens=engine.max_prompt_tokens,
    )
