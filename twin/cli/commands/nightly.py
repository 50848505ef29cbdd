"""`twin nightly`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.text import Text

from twin.cli import night, stages
from twin.cli.commands.evaluate import figures_table
from twin.cli.commands.train import Minutes, with_minutes
from twin.cli.folder import open_folder, training
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen

app = typer.Typer(add_completion=False)


@app.command()
@guarded
def nightly(
    full: Annotated[bool, typer.Option("--full", help="From the base model on, with everything, not from the active adapter.")] = False,
    minutes: Minutes = None,
    items: Annotated[int, typer.Option("--items", min=5, help="Held-out replies that the new adapter is tested on.")] = stages.ITEMS,
    trigger: Annotated[str, typer.Option("--trigger", hidden=True)] = "terminal",
    at: Annotated[str | None, typer.Option("--night", hidden=True, help="The instant that the schedule named.")] = None,
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Collect, build, train, evaluate and promote: what the scheduler runs.

    It goes on from the active adapter with what is new. The new adapter goes live only if it passes the gate: better on messages
    that neither has seen, and no worse at listening, at style, at what it knew before. Stopped anywhere, the next run goes on
    from what is sealed by then.
    """
    screen = Screen(as_json=as_json)
    settings = with_minutes(open_folder(data), minutes)
    with training(settings, "nightly", trigger=trigger, night_at=datetime.fromisoformat(at) if at else None) as run:
        document = night.play(settings, screen, run, night.Order(trigger, full, items))
    if "figures" in document:
        names = {document["adapter"]: "candidate", document["parent"]: "active"}
        screen.show(figures_table(document["figures"], {name: state for name, state in names.items() if name in document["figures"]}))
        for check in document["gate"]["checks"]:
            screen.show(Text(f"{'✓' if check['holds'] else '✗'} {check['why']}", style="" if check["holds"] else "bold"))
    screen.show(Text(document["line"], style="bold"))
    screen.result(document)
