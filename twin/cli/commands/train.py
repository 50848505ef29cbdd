"""`twin train`."""

from __future__ import annotations

from typing import Annotated

import typer

from twin.cli import launchers, night, stages
from twin.cli.folder import current_dataset, open_folder, training, transact
from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json, Screen, duration
from twin.settings import Settings
from twin.store import adapters

app = typer.Typer(add_completion=False)

Minutes = Annotated[float | None, typer.Option("--minutes", help="Training budget; the schedule fits into it.", show_default=False)]


@app.command()
@guarded
def train(
    full: Annotated[bool, typer.Option("--full", help="From the base model on, with everything, not from the active adapter.")] = False,
    minutes: Minutes = None,
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a candidate adapter on the newest dataset.

    It goes on from the active adapter with what is new, unless --full or the settings say otherwise. A run that was stopped goes
    on from its last checkpoint. The candidate answers nobody until `twin adapters promote` says so.
    """
    screen = Screen(as_json=as_json)
    settings = with_minutes(open_folder(data), minutes)
    dataset = current_dataset(settings)
    active = transact(settings, adapters.active)
    kind, why = night.kind_of(settings, active, dataset, full=full)
    screen.say(why)
    stages.require_consent(settings, dataset, [active] if active and kind == "incremental" else [])
    with training(settings, "train") as run:
        launchers.check(settings)
        base = stages.prepare_base(settings, screen)
        run.stage("train")
        with screen.bar("Training") as bar:

            def progress(done: float, total: float | None, note: str = "") -> None:
                bar(done, total, note)
                run.progress(done, total, note)

            parent = active if kind == "incremental" else None
            adapter = stages.train(settings, dataset, base, parent, on_event=stages.into(progress, screen))
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
