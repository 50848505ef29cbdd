"""`twin model`."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen, table
from twin.errors import InputError

app = typer.Typer(add_completion=False)

MEANING = {
    "spans": "training teaches the owner's words and nothing else",
    "ends": "a reply ends with a token that stops both engines",
    "prefix": "what is asked is the beginning of what is trained, on any day",
}


@app.command()
@guarded
def model(
    name: Annotated[str, typer.Argument(metavar="PATH_OR_ID", help="A folder, a Hugging Face id, or smollm2-135m.")],
    revision: Annotated[str | None, typer.Option(help="Of a Hugging Face id.", show_default=False)] = None,
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what the twin makes of a base model, without loading it.

    Its template, how thinking is handled, where a reply ends, what is trained. A folder with tokenizer files and a configuration
    is enough; of a Hugging Face id nothing else is fetched. Between ⟦ and ⟧ stands what training makes likelier. The exit code is
    1 if the twin cannot use the model.
    """
    from inference.examination import examine

    screen = Screen(as_json=as_json)
    with tempfile.TemporaryDirectory(prefix="twin-model-") as temporary:
        folder = _folder(name, revision, Path(temporary), data, screen)
        with screen.err.status("reading the tokenizer"):
            found = examine(folder)
    grid = table("", "")
    grid.add_row("family", found.family)
    grid.add_row("context length", f"{found.context_length:,} tokens" if found.context_length else "not said")
    if not found.refused:
        grid.add_row("system role", found.system_role)
        grid.add_row("thinking", found.thinking)
        grid.add_row("end tokens", Text(", ".join(found.end_tokens)))
    for invariant, holds in found.invariants.items():
        mark = Text("✓ ", style="green") if holds else Text("✗ ", style="red")
        grid.add_row(invariant, mark + Text(MEANING[invariant]))
    screen.show(grid)
    if found.refused:
        screen.show(Text(f"The twin cannot use it: {found.refused}", style="red"))
    else:
        screen.show(Text("A training row:", style="bold"))
        screen.show(Text(found.row))
        screen.show(Text("The prompt for its last reply:", style="bold"))
        screen.show(Text(found.prompt))
    screen.result(asdict(found))
    if found.refused:
        raise typer.Exit(1)


def _folder(name: str, revision: str | None, temporary: Path, data: Path | None, screen: Screen) -> Path:
    from trainer.base_model import SAMPLE, fetch_tokens, prepare_base_model
    from twin.settings import load_settings

    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or name.startswith((".", "/", "~")):
        raise InputError(f"{name} is no folder.", mend="Name a folder with tokenizer files, or a Hugging Face id such as Qwen/Qwen3-8B.")
    with screen.bar("Fetching the tokenizer") as progress:
        if name == SAMPLE:
            return prepare_base_model(
                name, load_settings(data=data).models_path if data else load_settings().models_path, progress=progress
            )
        return fetch_tokens(name, temporary, revision=revision, progress=progress)
