"""`twin nightly`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from twin.cli import stages
from twin.cli.commands.evaluate import figures_table
from twin.cli.commands.train import Minutes, listener, with_minutes
from twin.cli.folder import Training, open_folder, training, transact
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen
from twin.settings import Settings
from twin.store import adapters

app = typer.Typer(add_completion=False)


@app.command()
@guarded
def nightly(
    full: Annotated[
        bool, typer.Option("--full", help="From the base model on. So does every run until runs can build on each other.")
    ] = False,
    minutes: Minutes = None,
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Collect, build, train, evaluate and promote: what the scheduler runs.

    The new adapter goes live only if it beats the live one on messages that neither has seen. Stopped anywhere, the next run goes on
    from what is sealed by then.
    """
    screen = Screen(as_json=as_json)
    settings = with_minutes(open_folder(data), minutes)
    with training(settings, "nightly") as run:
        outcome = chain(settings, screen, run)
        run.detail.update(outcome)
    screen.show(Text(outcome["line"], style="bold"))
    screen.result(outcome)


def chain(settings: Settings, screen: Screen, run: Training) -> dict[str, Any]:
    """One night. Its outcome has `line`, one sentence for the owner."""
    run.stage("collect")
    with screen.bar("Collecting") as progress:
        collected = stages.collect(settings, progress)
    base = stages.prepare_base(settings, screen)
    run.stage("dataset")
    with screen.bar("Building the dataset") as progress:
        report = stages.build(settings, base, progress)
    outcome: dict[str, Any] = {"new_messages": collected.new_messages, "dataset": report.hash}
    run.stage("train")
    with screen.bar("Training") as progress:
        candidate = stages.train(settings, report.path, base, on_event=listener(screen, progress, run))
    outcome["adapter"] = candidate.name
    active = transact(settings, adapters.active)
    if active and active.name == candidate.name:
        return outcome | {"promoted": False, "line": f"Nothing new to learn: {candidate.name} stays active."}
    run.stage("evaluate")
    tested = [active, candidate] if active else [candidate]
    with screen.bar("Evaluating") as progress:
        found = stages.evaluate(settings, report.path, base, tested, progress, items=stages.ITEMS)
    screen.show(figures_table(found, {adapter.name: adapter.state for adapter in tested}))
    outcome["figures"] = {name: stages.numbers(figures) for name, figures in found.items()}
    live = found[active.name] if active else found["base"]
    why = stages.refusal(found[candidate.name], live)
    gain = live["loss"] - found[candidate.name]["loss"]
    if why:
        return outcome | {"promoted": False, "line": f"{candidate.name} does not go live: {why}."}
    run.stage("promote")
    stages.promote(settings, candidate.name)
    return outcome | {
        "promoted": True,
        "line": f"{candidate.name} is live: {gain:.2f} nats a token better than {active.name if active else 'the base model'}.",
    }
