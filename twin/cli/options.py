"""Options of every command, which may stand before its name as well: `twin --data X status` is `twin status --data X`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="The data folder. [dim](TWIN_DATA, or ./data)[/dim]", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")]


class Command(TyperCommand):
    """A command that takes what stood before its name, and minds a contradiction."""

    def invoke(self, ctx: Any) -> Any:
        before, own = ctx.parent.params.get("data") if ctx.parent else None, ctx.params.get("data")
        if before is not None and own is not None and before.absolute() != own.absolute():
            raise typer.BadParameter(f"{before} before the command and {own} behind it: name one.", ctx=ctx, param_hint="--data")
        return super().invoke(ctx)


def hand_on(ctx: typer.Context, **given: Any) -> None:
    """Let the options given before the command's name be what the command has if it is not told otherwise."""
    ctx.default_map = {str(ctx.invoked_subcommand): {name: value for name, value in given.items() if value}}
