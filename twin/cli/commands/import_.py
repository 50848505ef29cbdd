"""`twin import`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from twin.cli.folder import open_folder
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen, table
from twin.progress import Progress
from twin.settings import Settings
from twin.store import open_store

if TYPE_CHECKING:
    from trainer.import_report import ImportReport

app = typer.Typer(add_completion=False)


@app.command()
@guarded
def import_(
    path: Annotated[Path, typer.Argument(help="A result.json, or the folder that holds it.")],
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Read a Telegram Desktop export into the store.

    One chat or the whole account. Private chats only; what cannot be read is named, what could be read is kept. Twice does no harm.
    """
    screen = Screen(as_json=as_json)
    settings = open_folder(data)
    with screen.bar("Importing") as progress:
        report = _import(settings, path, progress)
    grid = table("", "", "", right=("",))
    grid.add_row("Messages read", f"{report.messages:,} in {len(report.by_dialog):,} private chats")
    grid.add_row("New in the store", f"{report.new_messages:,}")
    for what, skipped in (("chats", report.skipped_dialogs), ("messages", report.skipped_messages)):
        for reason, count in skipped.items():
            grid.add_row(f"Skipped {what}: {reason}", f"{count:,}")
    for reason, fault in report.faults.items():
        grid.add_row(Text(f"Not readable: {reason}", style="red"), Text(f"{fault.count:,}, the first at {fault.first}"))
    screen.show(grid, *(Text(note) for note in report.notes), sep="\n")
    if report.owner_id is not None and settings.owner.id is None:
        screen.show(f"The export is of account {report.owner_id}: set TWIN_OWNER__ID={report.owner_id}, if that is you.")
    if report.broken_off:
        screen.say(Text(report.broken_off, style="bold red"))
    screen.result({**asdict(report), "path": str(report.path), "complete": report.complete})
    if not report.complete:
        raise typer.Exit(1)


def _import(settings: Settings, path: Path, progress: Progress) -> ImportReport:
    from trainer.importer import import_export

    async def run() -> ImportReport:
        store = open_store(settings.store_path)
        try:
            return await import_export(store, path, owner_id=settings.owner.id, progress=progress)
        finally:
            await store.dispose()

    return asyncio.run(run())
