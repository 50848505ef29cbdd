"""`twin doctor`."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.text import Text

from twin.cli.checks import Check, all_checks
from twin.cli.folder import open_folder
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen, table
from twin.foreseen import foreseen

app = typer.Typer(add_completion=False)

MARKS = {"green": "✓", "red": "✗", "grey": "·"}


@app.command()
@guarded
def doctor(data: Data = None, as_json: Json = False, debug: Debug = False) -> None:
    """Check every part and say how to mend what is red.

    Grey is what is not needed or not there yet. The exit code is 1 if anything is red.
    """
    screen = Screen(as_json=as_json)
    settings = open_folder(data)
    found: list[Check] = []
    checks = all_checks()
    with screen.bar("Checking") as progress:
        for done, check in enumerate(checks):
            progress(done, len(checks), check.__name__.replace("_", " "))
            try:
                found.append(check(settings))
            except Exception as exc:  # such as a store that is locked
                known = foreseen(exc, settings.data)
                if known is None:
                    raise
                found.append(Check(check.__name__.replace("_", " "), "red", known.what, known.mend))
    grid = table("", "", "", "", "")
    for result in found:
        style = {"grey": "dim"}.get(result.colour, result.colour)
        said = Text(result.what) if not result.mend else Text(f"{result.what}\n→ {result.mend}")
        grid.add_row(Text(MARKS[result.colour], style=style), Text(result.part, style="bold"), said)
    screen.show(grid)
    sick = any(result.colour == "red" for result in found)
    screen.result({"ok": not sick, "checks": [asdict(result) for result in found]})
    if sick:
        raise typer.Exit(1)
