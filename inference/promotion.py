"""Before an adapter goes live: the running engine has it, and acts with it as it was trained to."""

from __future__ import annotations

import asyncio
from pathlib import Path

from inference.adapters import check_adapter
from twin.generator import ActiveAdapter
from twin.settings import Settings


async def prove(settings: Settings, base: Path, adapter: ActiveAdapter) -> None:
    """Load it into the vLLM server and prove it there; it stays loaded, so the switch costs nothing.

    The local engine lives in the bot's process, which loads it when the pointer moves, with the same proof; here its folder is
    checked. Raises ModelError if the adapter does not act as trained, EngineError if the server cannot be asked; what answers
    goes on answering.
    """
    if settings.engine.kind != "vllm":
        await asyncio.to_thread(check_adapter, adapter, base)
        return
    from inference.engines import open_vllm

    generator = open_vllm(settings, base)
    try:
        await generator.prove(adapter)
    finally:
        await generator.close()
