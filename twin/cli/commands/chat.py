"""`twin chat`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from twin.cli import border, stages
from twin.cli.choosing import find_contact
from twin.cli.folder import open_folder, transact
from twin.cli.following import Follower
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen, Words
from twin.generator import Generator, Sampling
from twin.names import SOMEBODY
from twin.said import cleaned
from twin.settings import Settings
from twin.store import dialogs, messages, open_store
from twin.turns import Turn, join_bubbles, split_bubbles, system_turn

app = typer.Typer(add_completion=False)


@app.command()
@guarded
def chat(
    as_contact: Annotated[
        str | None, typer.Option("--as-contact", metavar="CONTACT", help="Whom the twin takes you for.", show_default=False)
    ] = None,
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Talk to the twin in the terminal.

    Each line you type is a message; an empty line or Ctrl-D ends it. Nothing of it is kept. Lines may come from a pipe as well.
    """
    screen = Screen(as_json=as_json)
    settings = open_folder(data)
    name = transact(settings, lambda connection: _name(connection, as_contact))
    base = stages.prepare_base(settings, screen)
    with asyncio.Runner() as runner:
        generator, adapter = runner.run(_open(settings, base))
        try:
            screen.say(Words(f"{settings.owner.name} ({adapter or 'base model'}) talks to {name}. An empty line ends it.", style="dim"))
            turns = _talk(screen, runner, generator, settings, system_turn(settings.owner.name, name))
        finally:
            runner.run(generator.close())
    spoken = [{"role": turn.role, "bubbles": split_bubbles(turn.content)} for turn in turns[1:]]
    screen.result({"adapter": adapter, "contact": name, "turns": spoken})


def _talk(screen: Screen, runner: asyncio.Runner, generator: Generator, settings: Settings, system: Turn) -> list[Turn]:
    engine = settings.engine
    sampling = Sampling(temperature=engine.temperature, top_p=engine.top_p, max_new_tokens=engine.max_new_tokens)
    turns = [system]
    while line := _read(screen):
        turns.append(Turn("user", join_bubbles([line])))
        with screen.err.status("thinking"):
            generated = runner.run(generator.generate(tuple(turns), sampling))
        said = cleaned(generated.text)
        turns.append(Turn("assistant", said))
        for bubble in split_bubbles(said) or ["…"]:
            screen.show(Words(bubble, style="cyan"))
    return turns


def _read(screen: Screen) -> str:
    """One line without its end; empty at the end of the input."""
    if sys.stdin.isatty():
        screen.err.print(Words("> ", style="bold"), end="")
    return border.read_line()


async def _open(settings: Settings, base: Path) -> tuple[Generator, str | None]:
    from inference.engines import open_generator

    generator = open_generator(settings, base)
    store = open_store(settings.store_path)
    try:
        active = await Follower(store, generator).follow()
    except BaseException:
        await generator.close()
        raise
    finally:
        await store.dispose()
    return generator, active.name if active else None


async def _name(connection: Any, wanted: str | None) -> str:
    """The contact named, else the one with most messages: the model knows people by their names."""
    if wanted:
        return (await find_contact(connection, wanted)).name or SOMEBODY
    known = [dialog for dialog in await dialogs.find(connection) if dialog.name]
    counts = await messages.counts(connection)
    return max(known, key=lambda dialog: counts.get(dialog.dialog_id, (0, 0))[0]).name if known else SOMEBODY
