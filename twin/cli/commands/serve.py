"""`twin serve`."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import structlog
import typer

from inference.pause import wake
from inference.serve import VllmServer, start_server
from twin import engine_pause
from twin.cli import stages
from twin.cli.commands.run import ReadyFile
from twin.cli.folder import open_folder, utc_now
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen
from twin.engine_pause import Pause
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

    It listens on this machine only. Adapters are loaded by `twin run`, without a restart. It needs the extra [gpu] or [cpu].
    With TWIN_ENGINE__DURING_TRAINING=pause it gives its GPU to the nightly training and is back afterwards.
    """
    screen = Screen(as_json=as_json)
    settings = open_folder(data)
    base = stages.prepare_base(settings, screen)
    wanted = urlsplit(settings.engine.url).port or PORT if port is None else port
    asyncio.run(_serve(settings, base, wanted, screen, ready_file))


async def _serve(settings: Settings, base: Path, port: int, screen: Screen, ready_file: Path | None) -> None:
    """One server after another on the same port: a training that needs the GPU may have it stopped for a while."""
    store = open_store(settings.store_path)
    told = False
    try:
        while True:
            with ExitStack() as starting:
                progress = starting.enter_context(screen.bar("Starting vLLM"))
                async with start_server(settings, base, log=settings.data / "logs" / "vllm.log", port=port, progress=progress) as server:
                    starting.close()
                    port = urlsplit(server.url).port or port
                    await _say_state(store, "running")
                    if not told:
                        _tell(settings, server.url, screen, ready_file)
                        told = True
                    await _until_paused(settings, store, server)
            log.info("engine.stopped_for_training")
            await _say_state(store, "stopped")
            screen.say("Stopped: a training has the GPU. It starts again after that.")
            while (pause := await _pause(store)) and pause.is_fresh(utc_now()):  # noqa: ASYNC110 - another process ends it
                await asyncio.sleep(LOOK_SECONDS)
            if pause:  # nobody keeps it fresh: the training was killed
                async with store.begin() as connection:
                    await engine_pause.end(connection)
    finally:
        await store.dispose()


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
            if pause and pause.how == "sleep" and not pause.is_fresh(utc_now()):
                log.warning("engine.woken_after_a_crash")
                await asyncio.to_thread(wake, settings)
                async with store.begin() as connection:
                    await engine_pause.end(connection)
    finally:
        dying.cancel()


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
