"""`twin train`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from twin.cli import stages
from twin.cli.folder import Training, current_dataset, open_folder, training
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen, duration
from twin.progress import Progress
from twin.settings import Settings

app = typer.Typer(add_completion=False)

Minutes = Annotated[float | None, typer.Option("--minutes", help="Training budget; the schedule fits into it.", show_default=False)]


@app.command()
@guarded
def train(
    full: Annotated[
        bool, typer.Option("--full", help="From the base model on. So does every run until runs can build on each other.")
    ] = False,
    minutes: Minutes = None,
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a candidate adapter on the newest dataset.

    A run that was stopped goes on from its last checkpoint. The candidate answers nobody until `twin adapters promote` says so.
    """
    screen = Screen(as_json=as_json)
    settings = with_minutes(open_folder(data), minutes)
    dataset = current_dataset(settings)
    with training(settings, "full") as run:
        base = stages.prepare_base(settings, screen)
        run.stage("train")
        with screen.bar("Training") as progress:
            adapter = stages.train(settings, dataset, base, on_event=listener(screen, progress, run))
        run.detail["adapter"] = adapter.name
    manifest = stages.read_adapter(adapter.path)
    metrics = manifest["metrics"]
    screen.show(f"{adapter.name} is a {adapter.state}: {metrics['steps']} steps, {duration(metrics['seconds'])}. {adapter.path}")
    screen.show("Next: `twin evaluate`, then `twin adapters promote`.")
    screen.result({"adapter": adapter.name, "state": adapter.state, "path": str(adapter.path), "metrics": metrics})


def with_minutes(settings: Settings, minutes: float | None) -> Settings:
    """These settings with another training budget."""
    if minutes is None:
        return settings
    if minutes <= 0:
        raise typer.BadParameter("It must be above 0.", param_hint="--minutes")
    return settings.model_copy(update={"training": settings.training.model_copy(update={"minutes": minutes})})


def listener(screen: Screen, progress: Progress, run: Training) -> stages.Listener:
    """What to do with the worker's events: the estimate as a line, the rest into the bar; each is a sign of life."""

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "estimate":
            screen.say(Text(estimate_line(event), style="dim"))
        elif event["event"] == "progress":
            progress(event["done"], event["total"], event["note"])
        run.beat()

    return listen


def estimate_line(event: dict[str, Any]) -> str:
    weights = f"{event['trainable'] / 1e6:.1f} of {event['parameters'] / 1e6:.0f} million weights"
    cost = f"{event['memory_gib']:.1f} GiB, {event['flops'] / 1e12:,.0f} TFLOP, about {duration(event['seconds'])} on {event['device']}"
    return f"{event['examples']:,} examples, {event['tokens']:,} tokens an epoch; {weights}; {cost}"
