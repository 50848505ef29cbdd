"""`twin forget`."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from twin.cli.choosing import find_contact
from twin.cli.folder import DATASET, datasets_path, locked, open_folder, transact
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen, Yes
from twin.contacts import label
from twin.errors import InputError
from twin.reading import read_object
from twin.settings import Settings
from twin.store import adapters, dialogs, facts

app = typer.Typer(add_completion=False)


@app.command()
@guarded
def forget(
    contact: Annotated[str, typer.Argument(help="Whom: id, @username or name.")],
    yes: Yes = False,
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Erase a contact everywhere and say which adapters still carry them.

    Messages, drafts, consents and every dataset that holds the chat go, and the chat is never collected again. An adapter that has
    learned from it cannot unlearn: retrain and delete it.
    """
    screen = Screen(as_json=as_json)
    settings = open_folder(data)
    dialog = transact(settings, partial(find_contact, wanted=contact, forgotten=True))
    if dialog.dialog_id in transact(settings, dialogs.forgotten) and not _datasets_with(settings, dialog.dialog_id):
        raise InputError(f"The contact {dialog.dialog_id} is forgotten already.", mend="`twin adapters` says what was trained.")
    screen.confirm(f"Erase {transact(settings, partial(label, dialog_id=dialog.dialog_id))} for good?", yes=yes)
    with locked(settings.data / "training.lock"):  # a run going on would write out again what is erased here

        async def work(connection: Any) -> tuple[int, list[str]]:
            gone = await dialogs.erase(connection, dialog.dialog_id)
            return gone, await adapters.carrying(connection, dialog.dialog_id)

        gone, carrying = transact(settings, work)
        doomed = _datasets_with(settings, dialog.dialog_id)
        for folder in doomed:
            # The manifest goes first: without it the rest is no dataset, whatever happens in between.
            (folder / "manifest.json").unlink(missing_ok=True)
            shutil.rmtree(folder)
        transact(settings, lambda connection: _drop_current(connection, {folder.name for folder in doomed}))
    screen.show(f"Erased: {gone:,} messages, {len(doomed)} datasets.")
    if carrying:
        screen.show(f"Still carrying what they learned from this chat: {', '.join(carrying)}.")
        screen.show("Retrain with `twin nightly`, then delete their folders under " + str(settings.adapters_path) + ".")
    screen.result({"dialog_id": dialog.dialog_id, "messages": gone, "datasets": [f.name for f in doomed], "adapters": carrying})


def _datasets_with(settings: Settings, dialog_id: int) -> list[Path]:
    """Sealed dataset folders that hold the chat, and leftovers, of which nobody knows what they hold."""
    found = []
    for folder in sorted(path for path in datasets_path(settings).glob("*") if path.is_dir()):
        report = folder / "report.json"  # it names every contact, those left out too
        try:
            holds = dialog_id in read_object(folder / "manifest.json", mend="")["dialog_ids"]
            named = read_object(report, mend="")["contacts"] if report.exists() else []
            holds = holds or any(row["dialog_id"] == dialog_id and row["messages"] for row in named)
        except (InputError, KeyError, TypeError):  # unsealed or damaged
            holds = True
        if holds:
            found.append(folder)
    return found


async def _drop_current(connection: Any, names: set[str]) -> None:
    if await facts.get(connection, DATASET) in names:
        await facts.forget(connection, DATASET)
