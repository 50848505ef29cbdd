"""`twin evaluate`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from trainer.style import MEASURES
from twin.cli import stages
from twin.cli.folder import current_dataset, open_folder, transact
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen, Words, table
from twin.errors import InputError
from twin.settings import Settings
from twin.store import adapters
from twin.store.adapters import Adapter

app = typer.Typer(add_completion=False)


@app.command()
@guarded
def evaluate(
    name: Annotated[str | None, typer.Argument(help="An adapter; without it the newest candidate.", show_default=False)] = None,
    answers: Annotated[bool, typer.Option("--answers", help="Show the answers side by side.")] = False,
    items: Annotated[int, typer.Option("--items", min=5, help="Replies tested for context choice.")] = stages.ITEMS,
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare base, active and candidate on the holdout.

    The holdout is replies that no adapter has seen. loss: nats a token on them, lower is better. context choice: how often a reply is
    likeliest under the message that it really answers, among five (chance 0.20). distinct: share of different answers to different
    messages. style: how the answers look beside all that you wrote, 1 is alike; "you" is how your own unseen replies do. Loss alone
    lies: an adapter that says the same to everybody can have a good one.
    """
    screen = Screen(as_json=as_json)
    settings = open_folder(data)
    dataset = current_dataset(settings)
    tested = choose(settings, name)
    stages.require_consent(settings, dataset, tested)
    base = stages.prepare_base(settings, screen)
    with screen.bar("Evaluating") as progress:
        found = stages.evaluate(settings, dataset, base, tested, progress, items=items)
    states: dict[str, str] = {adapter.name: adapter.state for adapter in tested}
    screen.show(figures_table(found, states))
    if answers:
        screen.show(answers_table(found, states))
    kept = {name: {key: value for key, value in figures.items() if key not in LISTS} for name, figures in found.items()}
    screen.result({"dataset": dataset.name, "states": states, "figures": kept})


def choose(settings: Settings, name: str | None) -> list[Adapter]:
    """What is compared with the base model: the active adapter, and the one named or else the newest candidate."""
    known = transact(settings, adapters.find)
    if name and name not in {adapter.name for adapter in known}:
        raise InputError(f"There is no adapter named {name}.", mend="`twin adapters` lists them.")
    candidates = [adapter for adapter in known if adapter.state == "candidate"]
    wanted = {name} if name else {adapter.name for adapter in candidates[-1:]}
    return [adapter for adapter in known if adapter.state == "active" or adapter.name in wanted]


LISTS = ("items", "anchors", "difference_errors")  # what the gate needs beside the figures
ROWS = {
    "loss": ("loss on unseen replies, nats a token", 3),
    "anchor_loss": ("loss on older conversations", 3),
    "generic_loss": ("loss on general text", 3),
    "context_choice": ("context choice (chance 0.20)", 2),
    "distinct": ("distinct answers", 2),
    "verbatim": ("trained replies word for word", 2),
    "style": ("style like yours, of 1", 2),
    **{f"style_{measure}": (f"  {measure}", 2) for measure in MEASURES},
    "unsure_below": ("unsure below, mean log-probability", 2),
}


def figures_table(found: dict[str, Any], states: dict[str, str]) -> Table:
    """One column a model, and one for the owner's own replies; one row a figure with its standard error."""
    names = {"base": "base model", "owner": "you"} | {name: f"{name} ({state})" for name, state in states.items()}
    grid = table("On messages that none of them has seen", "", *(names[name] for name in found))
    for figure, (label, digits) in ROWS.items():
        if any(figure in figures for figures in found.values()):
            grid.add_row(label, *(_cell(figures, figure, digits) for figures in found.values()))
    auc = found.get("owner", {}).get("authorship_auc")
    if auc is not None:
        grid.caption = f"The verifier behind authorship tells your replies from your contacts' messages with AUC {auc:.2f}."
        grid.caption_justify = "left"
    return grid


def _cell(figures: dict[str, Any], figure: str, digits: int) -> RenderableType:
    if figures.get(figure) is None:
        return ""
    error = figures.get(f"{figure}_error")
    return Text.assemble(f"{figures[figure]:.{digits}f}", (f" ±{error:.{digits}f}" if error is not None else "", "dim"))


def answers_table(found: dict[str, Any], states: dict[str, str]) -> Table:
    """One row a message of the holdout: what the contact wrote, what the owner answered, what each model would."""
    grid = table("Answers", "contact", "owner", *("base model" if name == "base" else name for name in found if name != "owner"))
    columns = [figures["answers"] for figures in found.values() if "answers" in figures]
    for row in zip(*columns, strict=True):
        grid.add_row(Words(row[0]["message"]), Words(row[0]["owner"]), *(Words(cell["answer"]) for cell in row))
    return grid
