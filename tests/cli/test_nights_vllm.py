"""A night while a real vLLM server answers: nobody's request fails, and from the switch on the new adapter answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cli_scene import on_store
from nights_scene import Nights, say, small_talk
from small_models import save_tiny_llama

from inference.engines import open_generator
from inference.serve import start_server
from twin.cli.following import Follower
from twin.generator import Sampling
from twin.settings import load_settings
from twin.store import adapters, open_store
from twin.turns import Turn, system_turn

TURNS = (system_turn("Robin", "Ada"), Turn("user", "how is the tea 7?"))
AFTER = 5  # answers awaited once the new adapter is live


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_requests_go_on_through_a_night_and_its_switch(
    nights: Nights, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = save_tiny_llama(tmp_path / "base", tiny, head_dim=32)
    monkeypatch.setenv("TWIN_MODEL__BASE", str(base))
    settings = load_settings(data=nights.data)
    async with start_server(settings, base, log=tmp_path / "vllm.log", ready_seconds=240) as server:
        monkeypatch.setenv("TWIN_ENGINE__KIND", "vllm")
        monkeypatch.setenv("TWIN_ENGINE__URL", server.url)
        settings = load_settings(data=nights.data)
        first = await asyncio.to_thread(nights.play_and_promote)
        store, generator = open_store(settings.store_path), open_generator(settings, base)
        follower = Follower(store, generator)
        answered: list[str | None] = []

        async def ask() -> None:
            while True:
                answered.append((await generator.generate(TURNS, Sampling(max_new_tokens=8, seed=1))).adapter)

        await follower.follow()
        following = asyncio.create_task(follower.keep_following())
        asking = [asyncio.create_task(ask()) for _ in range(3)]
        try:
            await asyncio.to_thread(say, nights.sandbox, small_talk(80, 15))
            second = await asyncio.to_thread(nights.play_and_promote)
            async with asyncio.timeout(60):
                while answered[-AFTER:] != [second["adapter"]] * AFTER:
                    assert not any(task.done() for task in asking), "a request failed"
                    await asyncio.sleep(0.05)
        finally:
            for task in (following, *asking):
                task.cancel()
            ended = await asyncio.gather(following, *asking, return_exceptions=True)
            await generator.close()
            await store.dispose()
    assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
    assert set(answered) == {first["adapter"], second["adapter"]}
    switched = answered.index(second["adapter"])
    assert switched > 10, "answers came while the night was played"
    assert first["adapter"] not in answered[switched + len(asking) :], "what was in flight may end on the old one"
    assert (await asyncio.to_thread(on_store, nights.data, adapters.active)).name == second["adapter"]
