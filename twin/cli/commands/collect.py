"""`twin collect`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from twin.cli import stages
from twin.cli.folder import open_folder
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen, table

app = typer.Typer(add_completion=False)


@app.command()
@guarded
def collect(data: Data = None, as_json: Json = False, debug: Debug = False) -> None:
    """Read what is new in the owner's private chats into the store.

    Groups, channels and bots are left out, and so is every chat that is excluded. Stopped anywhere, the next run goes on there.
    When Telegram asks to wait, a short wait is slept through; a long one ends the run and says when it goes on.
    """
    screen = Screen(as_json=as_json)
    settings = open_folder(data)
    with screen.bar("Collecting") as progress:
        report = stages.collect(settings, progress)
    grid = table("", "", "", right=("",))
    grid.add_row("Private chats read", f"{report.dialogs:,}")
    grid.add_row("Without anything new", f"{report.unchanged:,}")
    grid.add_row("Not known before", f"{report.discovered:,}")
    grid.add_row("New messages", f"{report.new_messages:,}")
    grid.add_row("Edits and deletions followed", f"{report.edited:,} and {report.deleted:,}")
    for reason, count in report.skipped.items():
        grid.add_row(f"Skipped: {reason}", f"{count:,}")
    screen.show(grid)
    if report.takeout_from:
        at = report.takeout_from.astimezone()
        screen.show(f"Telegram allows a data export, which is faster, from {at:%Y-%m-%d %H:%M} on. Until then it goes on without.")
    if report.new_messages:
        screen.show("Nothing trains on a chat without consent: `twin contacts` lists them and records it.")
    screen.result(asdict(report))
