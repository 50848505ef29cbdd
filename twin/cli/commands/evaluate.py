"""`twin evaluate`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from twin.cli import stages
from twin.cli.folder import current_dataset, open_folder, transact
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen, table
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
    messages. Loss alone lies: an adapter that says the same to everybody can have a good one.
    """
    screen = Screen(as_json=as_json)
    settings = open_folder(data)
    dataset = current_dataset(settings)
    tested = choose(settings, name)
    base = stages.prepare_base(settings, screen)
    with screen.bar("Evaluating") as progress:
        found = stages.evaluate(settings, dataset, base, tested, progress, items=items)
    states: dict[str, str] = {adapter.name: adapter.state for adapter in tested}
    screen.show(figures_table(found, states))
    if answers:
        screen.show(answers_table(found, states))
    screen.result({"dataset": dataset.name, "states": states, "figures": found})


def choose(settings: Settings, name: str | None) -> list[Adapter]:
    """What is compared with the base model: the active adapter, and the one named or else the newest candidate."""
    known = transact(settings, adapters.find)
    if name and name not in {adapter.name for adapter in known}:
        raise InputError(f"There is no adapter named {name}.", mend="`twin adapters` lists them.")
    candidates = [adapter for adapter in known if adapter.state == "candidate"]
    wanted = {name} if name else {adapter.name for adapter in candidates[-1:]}
    return [adapter for adapter in known if adapter.state == "active" or adapter.name in wanted]


def figures_table(found: dict[str, Any], states: dict[str, str]) -> Table:
    grid = table("On the holdout", "", "loss", "±", "context choice", "±", "distinct", "±", right=("loss", "context choice", "distinct"))
    for name, figures in found.items():
        cells: list[RenderableType] = []
        for figure, digits in (("loss", 3), ("context_choice", 2), ("distinct", 2)):
            cells += [f"{figures[figure]:.{digits}f}", Text(f"{figures[f'{figure}_error']:.{digits}f}", style="dim")]
        label = f"{name} ({states[name]})" if name in states else "base model"
        grid.add_row(label, *cells, style="bold" if states.get(name) == "active" else "")
    return grid


def answers_table(found: dict[str, Any], states: dict[str, str]) -> Table:
    """One row a message of the holdout: what the contact wrote, what the owner answered, what each model would."""
    grid = table("Answers", "contact", "owner", *("base model" if name == "base" else name for name in found))
    columns = [figures["answers"] for figures in found.values()]
    for row in zip(*columns, strict=True):
        grid.add_row(Text(row[0]["message"]), Text(row[0]["owner"]), *(Text(cell["answer"]) for cell in row))
    return grid
