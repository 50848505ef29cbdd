"""A running engine follows the pointer to the active adapter, and gets it back when it was away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from cli_scene import AT
from fakes import FakeGenerator

from twin import engine_pause
from twin.cli import following
from twin.cli.folder import utc_now
from twin.cli.following import Follower
from twin.errors import EngineError, ModelError
from twin.generator import ActiveAdapter
from twin.store import adapters, notices, open_store
from twin.store.engine import Store

LONG_AGO = timedelta(minutes=5)


@dataclass
class Engine(FakeGenerator):
    """One that can be away and be restarted: it knows then of no adapter."""

    is_down: bool = False
    looks: int = 0
    loaded: list[str] = field(default_factory=list)

    async def use(self, adapter: ActiveAdapter | None) -> None:
        self.looks += 1
        if self.is_down:
            raise EngineError("down", kind="unreachable")
        await super().use(adapter)
        if adapter and adapter.name not in self.loaded:
            self.loaded.append(adapter.name)

    def restart(self) -> None:
        self.loaded.clear()


@pytest_asyncio.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    store = open_store(tmp_path / "twin.sqlite")
    async with store.begin() as connection:
        for name in ("one", "two", "dead"):
            await adapters.add(
                connection,
                name=name,
                path=tmp_path / name,
                base_model="small",
                parent=None,
                dataset_hash="d",
                metrics={},
                dialog_ids=[],
                at=AT,
            )
    yield store
    await store.dispose()


async def promote(store: Store, name: str) -> None:
    async with store.begin() as connection:
        await adapters.promote(connection, name, utc_now())


async def pause(store: Store, how: engine_pause.How, *, ago: timedelta = timedelta(0)) -> None:
    async with store.begin() as connection:
        await engine_pause.keep(connection, how, utc_now() - ago)


async def pause_of(store: Store) -> engine_pause.Pause | None:
    async with store.connect() as connection:
        return await engine_pause.read(connection)


async def told(store: Store) -> int:
    async with store.connect() as connection:
        return len(await notices.untold(connection))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - it looks at what another task does
            await asyncio.sleep(0.01)


@asynccontextmanager
async def followed(follower: Follower) -> AsyncIterator[None]:
    task = asyncio.create_task(follower.keep_following())
    try:
        yield
        assert not task.done(), "it follows for ever"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_engine_follows_the_pointer(store: Store) -> None:
    generator = FakeGenerator(refused={"dead"})
    follower = Follower(store, generator)
    await follower.follow()
    for name in ("one", "two", "two"):
        await promote(store, name)
        await follower.follow()
    await promote(store, "dead")
    with pytest.raises(ModelError):
        await follower.follow()
    assert [adapter.name if adapter else None for adapter in generator.used] == ["one", "two"]


async def test_it_sees_by_itself_that_the_pointer_moved(store: Store) -> None:
    engine = Engine()
    async with followed(Follower(store, engine)):
        for name in ("one", "two"):
            await promote(store, name)
            await until(lambda name=name: engine.adapter is not None and engine.adapter.name == name)  # type: ignore[misc]
        async with store.begin() as connection:
            await adapters.rollback(connection)
        await until(lambda: engine.adapter is not None and engine.adapter.name == "one")


async def test_an_engine_that_was_restarted_gets_its_adapter_before_anybody_asks(store: Store) -> None:
    engine = Engine()
    await promote(store, "one")
    async with followed(Follower(store, engine)):
        await until(lambda: engine.loaded == ["one"])
        engine.restart()
        await until(lambda: engine.loaded == ["one"])
    assert engine.history == []


async def test_an_engine_that_was_away_gets_what_is_active_when_it_is_back(store: Store) -> None:
    engine = Engine(is_down=True)
    await promote(store, "one")
    async with followed(Follower(store, engine)):
        await until(lambda: engine.looks > 2)
        await promote(store, "two")
        engine.is_down = False
        await until(lambda: engine.loaded == ["two"])
    assert await told(store) == 0, "an outage is told by who waits for an answer"


async def test_an_adapter_that_cannot_be_used_is_told_once(store: Store) -> None:
    engine = Engine(refused={"dead"})
    await promote(store, "one")
    follower = Follower(store, engine)
    async with followed(follower):
        await until(lambda: engine.loaded == ["one"])
        await promote(store, "dead")
        await until(lambda: follower.refused == "dead")
        looks = engine.looks
        await promote(store, "two")
        await until(lambda: "two" in engine.loaded)
    assert engine.looks == looks + 1, "it was not asked for again"
    assert await told(store) == 1


@pytest.mark.parametrize("how", ["sleep", "stop", "back"])
async def test_an_engine_whose_card_is_taken_is_left_alone_and_gets_what_is_active_afterwards(store: Store, how: engine_pause.How) -> None:
    engine = Engine()
    await pause(store, how)
    await promote(store, "one")
    follower = Follower(store, engine)
    with pytest.raises(EngineError) as caught:
        await follower.follow()
    assert caught.value.kind == "paused"
    assert engine.looks == 0
    async with followed(follower):
        async with store.begin() as connection:
            await engine_pause.end(connection)
        await until(lambda: engine.loaded == ["one"])


async def test_one_that_sleeps_for_a_training_that_died_is_woken(store: Store) -> None:
    engine, woken = Engine(), []

    def wake() -> None:
        woken.append(True)
        if len(woken) == 1:
            raise EngineError("not yet", kind="unreachable")

    await promote(store, "one")
    await pause(store, "sleep", ago=LONG_AGO)
    async with followed(Follower(store, engine, wake=wake)):
        await until(lambda: len(woken) == 2 and engine.loaded == ["one"])
        looks = engine.looks
        await until(lambda: engine.looks > looks)
    assert await pause_of(store) is None
    assert len(woken) == 2


async def test_a_stale_pause_goes_and_a_new_one_stays(store: Store) -> None:
    await pause(store, "stop", ago=LONG_AGO)
    async with store.begin() as connection:
        await engine_pause.end_stale(connection, utc_now())
    assert await pause_of(store) is None
    await pause(store, "sleep")
    async with store.begin() as connection:
        await engine_pause.end_stale(connection, utc_now())
    assert await pause_of(store) is not None
