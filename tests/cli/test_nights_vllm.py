"""A night while a real vLLM server answers: nobody's request fails, and from the switch on the new adapter answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from asking import asking
from cli_scene import on_store
from nights_scene import Nights, say, small_talk

from inference.serve import start_server
from twin.settings import load_settings
from twin.store import adapters


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_requests_go_on_through_a_night_and_its_switch(
    next_nights: Nights, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights, first = next_nights, next_nights.played[-1]["adapter"]
    monkeypatch.setenv("TWIN_ENGINE__API_KEY", "canary-key")
    async with start_server(load_settings(data=nights.data), tiny, log=tmp_path / "vllm.log", ready_seconds=240) as server:
        monkeypatch.setenv("TWIN_ENGINE__KIND", "vllm")
        monkeypatch.setenv("TWIN_ENGINE__URL", server.url)
        async with asking(load_settings(data=nights.data), tiny) as asked:
            await asyncio.to_thread(say, nights.sandbox, small_talk(80, 15))
            second = await asyncio.to_thread(nights.play)
            assert second["promoted"], second["line"]
            before = len(asked.answers)
            await asked.until_only(second["adapter"])
    assert before > 10, "answers came while the night was played"
    assert set(asked.answers) == {first, second["adapter"]}
    assert asked.strays(first, second["adapter"]) == 0, "what was in flight may end on the old one, nothing else"
    assert (await asyncio.to_thread(on_store, nights.data, adapters.active)).name == second["adapter"]
