"""`twin run`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from twin.cli import children, loop, stages
from twin.cli.account import live_accounts
from twin.cli.folder import is_training, open_folder, utc_now
from twin.cli.following import Follower
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen
from twin.errors import EngineError, InputError, ModelError, TwinError
from twin.generator import ActiveAdapter
from twin.nights import Night
from twin.sealing import write_private
from twin.settings import Settings
from twin.store import adapters, open_store

app = typer.Typer(add_completion=False)
log = structlog.get_logger()

ReadyFile = Annotated[Path | None, typer.Option("--ready-file", help="Write a JSON file once it can be used.", hidden=True)]


@app.command()
@guarded
def run(ready_file: ReadyFile = None, data: Data = None, as_json: Json = False, debug: Debug = False) -> None:
    """Run the bot with its scheduler.

    It answers with the active adapter and follows it when a night, `twin adapters` or a tap changes it. Ctrl-C stops it; what is
    not done by then is done at the next start.
    """
    from bot.schedule import WallClock, local_zone

    screen = Screen(as_json=as_json)
    settings = open_folder(data, log_to_stderr=not as_json)
    WallClock(settings.schedule.nightly, local_zone())  # a wrong line or zone is said now, not after the model is loaded
    base = stages.prepare_base(settings, screen)

    def on_ready(username: str) -> None:
        loop.settle()
        screen.say(f"@{username} answers. Ctrl-C stops it.")
        screen.result({"bot": username, "pid": os.getpid(), "engine": settings.engine.kind})
        if ready_file:
            write_private(ready_file, json.dumps({"bot": username, "pid": os.getpid()}).encode())

    loop.run(_run(settings, base, on_ready))


async def _run(settings: Settings, base: Path, on_ready: Any) -> None:
    from bot.app import run_bot
    from inference.engines import open_generator
    from inference.pause import wake
    from inference.promotion import prove

    store = open_store(settings.store_path)
    generator = open_generator(settings, base)
    follower = Follower(store, generator, wake=partial(wake, settings) if settings.engine.kind == "vllm" else None)

    async def retrain(night: Night) -> str:
        return await _nightly(settings, night)  # the follower sees the pointer move, and tells the owner what goes wrong with it

    async def rollback() -> str:
        async with store.begin() as connection:
            back = await adapters.rollback(connection)
        name = back.name if back else "The base model"
        try:
            await follower.follow()
        except EngineError as exc:
            return f"{name} is live again. It answers once the engine is back: {exc.what}"
        return f"{name} answers again."

    async def promote(name: str) -> str:
        async with store.connect() as connection:
            wanted = await adapters.get(connection, name)
        if wanted is None:
            raise InputError(f"There is no adapter named {name}.", mend="`twin adapters` lists them.")
        await prove(settings, base, ActiveAdapter(wanted.name, wanted.path))
        moved = wanted.state != "active"  # doing it twice would make a rollback lead to itself
        if moved:
            async with store.begin() as connection:
                await adapters.promote(connection, name, utc_now())
        try:
            await follower.follow()
        except EngineError as exc:
            return f"{name} is live, as you said. It answers once the engine is back: {exc.what}"
        except ModelError:  # the local engine proves it only now; what answered before goes on answering
            if moved:
                async with store.begin() as connection:
                    await adapters.rollback(connection)
            raise
        return f"{name} is live, as you said."

    following = None
    try:
        try:
            await follower.follow()
        except EngineError as exc:
            log.warning("engine.away", kind=exc.kind)  # the bot takes messages all the same, and answers when the engine is back
        following = asyncio.create_task(follower.keep_following())
        await run_bot(
            settings,
            store,
            generator,
            retrain=retrain,
            rollback=rollback,
            promote=promote,
            is_training=partial(is_training, settings),
            on_ready=on_ready,
            accounts=live_accounts(settings, store),
        )
    finally:
        if following:
            following.cancel()
        await generator.close()
        await store.dispose()


async def _nightly(settings: Settings, night: Night) -> str:
    """`twin nightly` in a process of its own: its memory goes with it, and cancelling ends it. Its outcome in one line."""
    errors = settings.data / "logs" / "nightly.log"
    asked = ["--trigger", night.trigger, "--night", night.at.isoformat(), *(["--full"] if night.full else [])]
    command = children.python("twin", "nightly", "--json", "--data", settings.data, *asked)
    with os.fdopen(os.open(errors, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as stderr:
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=children.dies_with_us(),
        )
    try:
        printed, _ = await child.communicate()
    except asyncio.CancelledError:
        children.signal_group(child.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(children.STOP_SECONDS + 1):  # it has a worker of its own to stop
                await child.wait()
        except TimeoutError:
            children.signal_group(child.pid, signal.SIGKILL)
            await child.wait()
        raise
    try:
        outcome = json.loads(printed)
    except json.JSONDecodeError:
        raise TwinError(f"The nightly run ended with exit code {child.returncode}.", mend=f"{errors} says why.") from None
    if "error" in outcome:
        raise TwinError(outcome["error"], mend=outcome["mend"])
    return str(outcome["line"])
