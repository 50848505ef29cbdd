"""`twin serve`."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import structlog
import typer

from inference.pause import wake
from inference.serve import VllmServer, require_key, start_server
from twin import engine_pause
from twin.cli import stages
from twin.cli.commands.run import ReadyFile
from twin.cli.folder import open_folder, utc_now
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen
from twin.engine_pause import BEAT_SECONDS, Pause
from twin.errors import EngineError
from twin.sealing import write_private
from twin.settings import Settings
from twin.store import facts, open_store
from twin.store.engine import Store

app = typer.Typer(add_completion=False)

log = structlog.get_logger()
PORT = 8000  # vLLM's own
LOOK_SECONDS = 1.0


@app.command()
@guarded
def serve(
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="0: a free one. [dim](that of TWIN_ENGINE__URL)[/dim]", show_default=False),
    ] = None,
    ready_file: ReadyFile = None,
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a vLLM server for the base model.

    It listens on this machine only and answers nobody without the key, TWIN_ENGINE__API_KEY. Adapters are loaded by `twin run`, without
    a restart. It needs the extra [gpu] or [cpu].
    With TWIN_ENGINE__DURING_TRAINING=pause it gives its GPU to the nightly training and is back afterwards.
    """
    screen = Screen(as_json=as_json)
    settings = open_folder(data)
    require_key(settings)
    base = stages.prepare_base(settings, screen, weights=True)
    wanted = urlsplit(settings.engine.url).port or PORT if port is None else port
    asyncio.run(_serve(settings, base, wanted, screen, ready_file))


async def _serve(settings: Settings, base: Path, port: int, screen: Screen, ready_file: Path | None) -> None:
    """One server after another on the same port: a training that needs the GPU may have it stopped for a while."""
    store = open_store(settings.store_path)
    told = False
    try:
        while True:
            if await _wait_for_card(store, screen):
                log.info("engine.starting_after_training")
            async with _starting(settings, base, port, store, screen) as server:
                port = urlsplit(server.url).port or port
                await _say_state(store, "running")
                if not told:
                    _tell(settings, server.url, screen, ready_file)
                    told = True
                await _until_paused(settings, store, server)
            log.info("engine.stopped_for_training")
    finally:
        await store.dispose()


async def _wait_for_card(store: Store, screen: Screen) -> bool:
    """Return once no training has the GPU; whether one had."""
    has_waited = False
    while True:
        pause = await _pause(store)
        if not (pause and pause.has_card(utc_now())):
            return has_waited
        if not has_waited:
            has_waited = True
            await _say_state(store, "stopped")
            screen.say("A training has the GPU. vLLM starts after that.")
        await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def _starting(settings: Settings, base: Path, port: int, store: Store, screen: Screen) -> AsyncIterator[VllmServer]:
    """A server. Until it is up, who waits for an answer is told of a pause, if a training that died has caused it."""
    pause = await _pause(store)
    keeping = asyncio.create_task(_keep_pause(store)) if pause and not pause.is_fresh(utc_now()) else None
    try:
        with ExitStack() as bar:
            progress = bar.enter_context(screen.bar("Starting vLLM"))
            async with start_server(settings, base, log=settings.data / "logs" / "vllm.log", port=port, progress=progress) as server:
                bar.close()
                if keeping:
                    await _end(keeping, store)
                yield server
    finally:
        if keeping and not keeping.done():
            await _end(keeping, store)


async def _keep_pause(store: Store) -> None:
    while True:
        async with store.begin() as connection:
            await engine_pause.keep(connection, "back", utc_now())
        await asyncio.sleep(BEAT_SECONDS)


async def _end(keeping: asyncio.Task[None], store: Store) -> None:
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    async with store.begin() as connection:
        pause = await engine_pause.read(connection)
        if pause and pause.how == "back":  # else another training has begun meanwhile
            await engine_pause.end(connection)


async def _until_paused(settings: Settings, store: Store, server: VllmServer) -> None:
    """Return when the server has to be stopped; raises EngineError when it dies. Wakes it if who put it to sleep has died."""
    dying = asyncio.create_task(server.wait())
    try:
        while True:
            done, _ = await asyncio.wait({dying}, timeout=LOOK_SECONDS)
            if done:
                await dying
            pause = await _pause(store)
            if pause and pause.how == "stop" and pause.is_fresh(utc_now()):
                return
            if pause and not pause.is_fresh(utc_now()):
                if pause.how == "sleep" and not await _woken(settings):
                    return  # what does not wake up is started anew
                async with store.begin() as connection:
                    await engine_pause.end_stale(connection, utc_now())
    finally:
        dying.cancel()


async def _woken(settings: Settings) -> bool:
    try:
        await asyncio.to_thread(wake, settings)
    except EngineError as exc:
        log.warning("engine.not_woken", kind=exc.kind)
        return False
    log.warning("engine.woken_after_a_crash")
    return True


async def _pause(store: Store) -> Pause | None:
    async with store.connect() as connection:
        return await engine_pause.read(connection)


async def _say_state(store: Store, state: str) -> None:
    async with store.begin() as connection:
        await facts.put(connection, engine_pause.SERVER, {"state": state})


def _tell(settings: Settings, url: str, screen: Screen, ready_file: Path | None) -> None:
    screen.say(f"{settings.model.base} is served at {url}. Ctrl-C stops it.")
    if url != settings.engine.url.rstrip("/"):
        screen.say(f"The bot finds it with TWIN_ENGINE__KIND=vllm and TWIN_ENGINE__URL={url}.")
    screen.result({"url": url, "model": settings.model.base, "pid": os.getpid()})
    if ready_file:
        write_private(ready_file, json.dumps({"url": url, "pid": os.getpid()}).encode())
