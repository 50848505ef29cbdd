"""A training has the engine's GPU: what contacts write waits and is answered, and the owner is not alarmed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from bot_scene import OWNER, UNREACHABLE, Scene, opened, until
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import drafter
from bot.context import utc_now
from twin import engine_pause
from twin.generator import Generated


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the drafter found each time that it looked for a pause."""
    found: list[bool] = []
    is_paused = engine_pause.is_paused

    async def look(connection: AsyncConnection, now: datetime) -> bool:
        found.append(await is_paused(connection, now))
        return found[-1]

    monkeypatch.setattr(engine_pause, "is_paused", look)
    monkeypatch.setattr(drafter, "PAUSED_SECONDS", 0.05)
    return found


async def pause(scene: Scene) -> None:
    async with scene.store.begin() as connection:
        await engine_pause.keep(connection, "stop", utc_now())


async def end(scene: Scene) -> None:
    async with scene.store.begin() as connection:
        await engine_pause.end(connection)


def alarms(scene: Scene) -> list[str]:
    return [text for text in scene.seen_by(OWNER) if "cannot answer" in text]


async def test_messages_wait_for_the_end_of_the_training_without_an_alarm(tmp_path: Path, looks: list[bool]) -> None:
    async with opened(tmp_path) as scene:
        await pause(scene)
        scene.writes("hello")
        await until(lambda: len(looks) >= 3)
        assert scene.engine.asked == []
        await end(scene)
        await scene.card("hello")
        assert alarms(scene) == []


async def test_an_answer_cut_off_by_the_training_is_written_after_it(
    tmp_path: Path, looks: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as scene:

        async def cut_off(*_: Any) -> Generated:
            await pause(scene)
            raise UNREACHABLE

        with monkeypatch.context() as broken:
            broken.setattr(scene.engine, "generate", cut_off)
            scene.writes("hello")
            await until(lambda: looks.count(True) >= 3)
        await end(scene)
        await scene.card("hello")
        assert alarms(scene) == []
