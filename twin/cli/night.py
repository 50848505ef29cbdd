"""One night: collect -> build -> train -> evaluate -> judge -> promote, and a sealed folder that tells the owner of it.

Each stage leaves rows or a sealed artefact, so a night that is killed anywhere is played again from the start and finds what
is done already. The active adapter changes in the one transaction of `stages.promote`, after everything else is proven.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from twin.cli import launchers, run_folder, stages
from twin.cli.folder import Training, transact
from twin.cli.terminal import Screen
from twin.errors import NothingNew
from twin.progress import Progress
from twin.renderer import was_other
from twin.settings import Settings
from twin.store import adapters, dialogs, runs
from twin.store.adapters import Adapter

Kind = Literal["incremental", "full"]
SHOWN = 10  # side-by-side answers kept for the owner


@dataclass(frozen=True)
class Order:
    """What is asked of a night. `full`: from the base model, whatever the settings say; `items`: replies tested."""

    trigger: str = "terminal"
    full: bool = False
    items: int = stages.ITEMS


def play(settings: Settings, screen: Screen, run: Training, order: Order) -> dict[str, Any]:
    """The night's document: what its run folder's manifest holds. Raises TwinError; what is sealed by then is kept."""
    from inference.pause import paused

    with _stage(screen, run, "collect", "Collecting") as progress:
        launchers.check(settings, progress)  # now, not after an hour of collecting
        collected = stages.collect(settings, progress)
    with _stage(screen, run, "prepare", "Preparing the base model") as progress:
        base = stages.prepare_base_apart(settings, progress)
    with _stage(screen, run, "dataset", "Building the dataset") as progress:
        report = stages.build(settings, base, progress)
    active = transact(settings, adapters.active)
    kind, why = kind_of(settings, active, report.path, full=order.full)
    screen.say(why)
    document: dict[str, Any] = {
        "run_id": run.run_id,
        "kind": kind,
        "trigger": order.trigger,
        "new_messages": collected.new_messages,
        "dataset": report.hash,
        "parent": active.name if active else None,
    }
    with paused(settings, base):
        try:
            with _stage(screen, run, "train", "Training") as progress:
                parent = active if kind == "incremental" else None
                candidate = stages.train(settings, report.path, base, parent, on_event=stages.into(progress, screen))
        except NothingNew as exc:
            return _end(settings, run, document, "nothing new", str(exc))
        document["adapter"] = candidate.name
        if active and active.name == candidate.name:
            return _end(settings, run, document, "nothing new", f"Nothing new to learn: {candidate.name} stays active.")
        if candidate.state == "retired":  # the owner kept it out, or went back from it
            line = f"Nothing new to learn since {candidate.name}, which was set aside: what answers now stays."
            return _end(settings, run, document, "nothing new", line)
        if active and transact(settings, partial(is_withdrawn, adapter=active)):
            active = document["parent"] = None  # nothing is asked of it any more: the base model is what there is to beat
        tested = [active, candidate] if active else [candidate]
        with _stage(screen, run, "evaluate", "Evaluating") as progress:
            found = stages.evaluate(settings, report.path, base, tested, progress, items=order.items)
    verdict = stages.judge(settings, found, candidate, active)
    document |= {"gate": asdict(verdict), "figures": {name: stages.numbers(figures) for name, figures in found.items()}}
    answers = _side_by_side(found, candidate.name, active.name if active else "base")
    if not verdict.passed:
        return _end(settings, run, document, "refused", verdict.line, candidate, answers)
    if not settings.schedule.auto_promote:
        return _end(settings, run, document, "waiting", f"{verdict.line} It waits for your word.", candidate, answers)
    with _stage(screen, run, "promote", "Switching"):
        stages.promote(settings, base, candidate)
    return _end(settings, run, document, "promoted", verdict.line, candidate, answers)


async def is_withdrawn(connection: AsyncConnection, adapter: Adapter) -> bool:
    """Whether it learned from a chat that may not be used any more."""
    return bool(await dialogs.withdrawn(connection, await adapters.learned_from(connection, adapter.name)))


def kind_of(settings: Settings, active: Adapter | None, dataset: Path, *, full: bool) -> tuple[Kind, str]:
    """Whether a run goes on from the active adapter, and why, in a line for the owner."""
    from trainer.dataset_reader import read_manifest
    from trainer.lineage import other_rendering

    if full:
        return "full", "From the base model, as asked."
    if active is None:
        return "full", "No adapter is active yet: from the base model."
    if settings.schedule.kind == "full":
        return "full", "From the base model, as TWIN_SCHEDULE__KIND says."
    manifest = stages.read_adapter(active.path)
    if "learned_until" not in manifest:
        return "full", f"{active.name} does not say what it has learned: from the base model."
    if (manifest["recipe"]["r"], manifest["recipe"]["alpha"]) != (settings.training.r, settings.training.alpha):
        return "full", f"{active.name} has another LoRA rank or alpha than the settings: from the base model."
    built = read_manifest(dataset)
    if was_other(manifest.get("rendering"), built.get("rendering")):
        return "full", f"{other_rendering(active.name).removesuffix('.')}: from the base model."
    if gone := set(manifest["dialog_ids"]) - set(built["dialog_ids"]):
        # Going on from it would keep what must not be kept any more.
        return "full", f"{len(gone)} chats that {active.name} learned from may no longer be used: from the base model."
    every = settings.schedule.full_every
    if every and transact(settings, lambda connection: runs.since_full(connection)) >= every:
        return "full", f"From the base model, as every {every} nights."
    return "incremental", f"Going on from {active.name}."


def _end(
    settings: Settings,
    run: Training,
    document: dict[str, Any],
    outcome: str,
    line: str,
    candidate: Adapter | None = None,
    answers: Sequence[dict[str, str]] = (),
) -> dict[str, Any]:
    """Seal the run's folder and give its document back."""
    if candidate:
        trained = stages.read_adapter(candidate.path)
        document |= {"mixture": trained.get("mixture"), "curve": trained.get("curve"), "metrics": trained["metrics"]}
    document |= {"outcome": outcome, "promoted": outcome == "promoted", "line": line, "stages": run.stages()}
    run_folder.seal(settings, document, answers)
    run.detail.update({key: document.get(key) for key in ("kind", "outcome", "line", "adapter", "parent", "new_messages", "dataset")})
    return document


@contextmanager
def _stage(screen: Screen, run: Training, name: str, title: str) -> Iterator[Progress]:
    """A stage with its bar here and its place in the run's row."""
    run.stage(name)
    with screen.bar(title) as bar:

        def tell(done: float, total: float | None, note: str = "") -> None:
            bar(done, total, note)
            run.progress(done, total, note)

        yield tell


def _side_by_side(found: stages.Figures, new: str, live: str) -> list[dict[str, str]]:
    """What both said to the same held-out messages, spread over them."""
    pairs = list(zip(found[live]["answers"], found[new]["answers"], strict=True))
    step = max(1, len(pairs) // SHOWN)
    return [
        {"message": was["message"], "owner": was["owner"], "live": was["answer"], "new": now["answer"]}
        for was, now in pairs[::step][:SHOWN]
    ]
