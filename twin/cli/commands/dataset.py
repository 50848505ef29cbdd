"""`twin dataset`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from twin.cli import habits, stages
from twin.cli.folder import open_folder
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen, Words, table
from twin.contacts import apart

if TYPE_CHECKING:
    from trainer.dataset import DatasetReport

app = typer.Typer(add_completion=False)


@app.command()
@guarded
def dataset(
    show: Annotated[int, typer.Option("--show", metavar="N", min=0, help="Show N examples, with what was written in them.")] = 0,
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Build the dataset from the chats with consent, and show it.

    The same messages and settings give the same bytes, so building twice changes nothing. Shown beside it: how you answer.
    """
    from bot.schedule import local_zone

    screen = Screen(as_json=as_json)
    settings = open_folder(data)
    zone = local_zone()  # a wrong one is said before the minutes of building
    base = stages.prepare_base(settings, screen)
    with screen.bar("Building the dataset") as progress:
        report = stages.build(settings, base, progress)
    how = habits.learn(settings, report.contacts, zone)
    for grid in (contacts_table(report), verdicts_table(report), histogram_table(report), habits.habits_table(how)):
        screen.show(grid, "", sep="\n")
    words = f"{report.examples['train']:,} examples, {report.tokens:,} tokens of which {report.supervised_tokens:,} are learned"
    held_out = f"Held out: {report.targets['holdout']:,} of the newest replies and {report.targets['anchor']:,} older ones as the anchor"
    screen.show(f"{words}. {held_out}. {'Already there' if report.reused else 'Sealed'}: {report.path}")
    if show:
        _show_examples(screen, report, show)
    screen.result(report.as_json() | {"tempo": how.as_json()})


def contacts_table(report: DatasetReport) -> Table:
    grid = table("Private chats", "contact", "messages", "owner's", "targets", "", right=("messages", "owner's", "targets"))
    names = apart((row.dialog_id, row.name) for row in report.contacts)
    for row in sorted(report.contacts, key=lambda row: (-row.targets, -row.messages, row.dialog_id)):
        out = Text(f"left out ({row.left_out})", style="yellow") if row.left_out else ""
        grid.add_row(Words(names[row.dialog_id]), f"{row.messages:,}", f"{row.owner_messages:,}", f"{row.targets:,}", out)
    return grid


def verdicts_table(report: DatasetReport) -> Table:
    """What became of each message of the owner in the chats with consent."""
    reasons = report.as_json()["reasons"]
    grid = table("The owner's messages in them", "", "messages", right=("messages",))
    labels = {
        "train": "learned",
        "validation": "for early stopping",
        "holdout": "held out, never learned",
        "anchor": "older, kept to see what is forgotten, never learned",
    }
    for verdict in labels:
        grid.add_row(labels[verdict], f"{report.verdicts.get(verdict, 0):,}")
    for verdict, count in sorted(report.verdicts.items(), key=lambda item: -item[1]):
        if verdict not in labels and count:
            grid.add_row(f"left out: {reasons.get(verdict, verdict)}", f"{count:,}")
    return grid


def histogram_table(report: DatasetReport) -> Table:
    grid = table("Length of the examples", "tokens", "examples", "", right=("tokens", "examples"))
    most = max(report.histogram.values(), default=1)
    for bound, count in report.histogram.items():
        label = bound if bound == "more" else f"≤ {bound}"
        grid.add_row(label, f"{count:,}", Text("█" * round(40 * count / most), style="cyan"))
    return grid


def _show_examples(screen: Screen, report: DatasetReport, wanted: int) -> None:
    from trainer.dataset_reader import read_examples

    every = max(1, report.examples["train"] // wanted)
    for example in itertools.islice(itertools.islice(read_examples(report.path, "train"), 0, None, every), wanted):
        grid = table(f"Example of chat {example.dialog_id}", "", "")
        for i, turn in enumerate(example.turns):
            learned = i in example.targets
            grid.add_row(Text(turn.role + (" ◀ learned" if learned else ""), style="green" if learned else "dim"), Words(turn.content))
        screen.show("", grid, sep="\n")
