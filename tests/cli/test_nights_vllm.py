"""A night while a real vLLM server answers: nobody's request fails, and from the switch on the new adapter answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from asking import asking
from cli_scene import on_store
from nights_scene import Nights, say, small_talk
from small_models import save_tiny_llama

from inference.serve import start_server
from twin.settings import load_settings
from twin.store import adapters


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_requests_go_on_through_a_night_and_its_switch(
    nights: Nights, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = save_tiny_llama(tmp_path / "base", tiny, head_dim=32)
    monkeypatch.setenv("TWIN_MODEL__BASE", str(base))
    async with start_server(load_settings(data=nights.data), base, log=tmp_path / "vllm.log", ready_seconds=240) as server:
        monkeypatch.setenv("TWIN_ENGINE__KIND", "vllm")
        monkeypatch.setenv("TWIN_ENGINE__URL", server.url)
        first = await asyncio.to_thread(nights.play_and_promote)
        async with asking(load_settings(data=nights.data), base) as asked:
            await asyncio.to_thread(say, nights.sandbox, small_talk(80, 15))
            second = await asyncio.to_thread(nights.play_and_promote)
            before = len(asked.answers)
            await asked.until_only(second["adapter"])
    assert before > 10, "answers came while the night was played"
    assert set(asked.answers) == {first["adapter"], second["adapter"]}
    assert asked.strays(first["adapter"], second["adapter"]) == 0, "what was in flight may end on the old one, nothing else"
    assert (await asyncio.to_thread(on_store, nights.data, adapters.active)).name == second["adapter"]
