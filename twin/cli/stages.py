"""The stages of the pipeline with a progress bar each. Commands string them together; they talk by rows and sealed folders."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from twin.cli import launchers
from twin.cli.folder import DATASET, datasets_path, transact, utc_now
from twin.cli.terminal import Screen, duration
from twin.errors import ModelError
from twin.generator import ActiveAdapter
from twin.progress import Progress
from twin.reading import read_object
from twin.settings import Settings
from twin.store import adapters, dialogs, facts, open_store
from twin.store.adapters import Adapter

if TYPE_CHECKING:
    from trainer.collect import CollectReport
    from trainer.dataset import DatasetReport
    from trainer.gate import Verdict

Figures = dict[str, dict[str, Any]]
Listener = launchers.Listener

ITEMS = 240  # held-out replies of an evaluation
FIGURES = ("loss", "context_choice", "distinct")


def collect(settings: Settings, progress: Progress) -> CollectReport:
    from trainer.collect import collect

    async def run() -> CollectReport:
        store = open_store(settings.store_path)
        try:
            return await collect(store, settings, progress)
        finally:
            await store.dispose()

    return asyncio.run(run())


def prepare_base(settings: Settings, screen: Screen, *, weights: bool = False) -> Path:
    """The base model's folder; made, with a bar, the first time. Where other hosts train and answer, only `weights` brings them here."""
    from trainer.base_model import prepare_base_model

    with screen.bar("Preparing the base model") as progress:
        if launchers.is_elsewhere(settings, "prepare") and not weights:
            return prepare_base_apart(settings, progress)
        return prepare_base_model(settings.model.base, settings.models_path, revision=settings.model.revision, progress=progress)


def prepare_base_apart(settings: Settings, progress: Progress) -> Path:
    """The same in a process of its own, for who does not load a model afterwards."""
    order = {"name": settings.model.base, "models": str(settings.models_path), "revision": settings.model.revision}
    return Path(_work(settings, "prepare", order, into(progress)))


def build(settings: Settings, base: Path, progress: Progress) -> DatasetReport:
    """Build the dataset and note it as the current one."""
    from trainer.dataset import ContactCount, DatasetReport

    order = {
        "data": str(settings.data),
        "owner_name": settings.owner.name,
        "dataset": settings.dataset.model_dump(mode="json"),
        "base": str(base),
        "out": str(datasets_path(settings)),
    }
    found = _work(settings, "build", order, into(progress))
    del found["reasons"]  # constants, which come back with as_json
    contacts = tuple(ContactCount(**row) for row in found["contacts"])
    report = DatasetReport(**{**found, "path": Path(found["path"]), "contacts": contacts})
    transact(settings, lambda connection: facts.put(connection, DATASET, report.hash))
    return report


def train(settings: Settings, dataset: Path, base: Path, parent: Adapter | None, *, on_event: Listener) -> Adapter:
    """Train in a process of its own and register the sealed folder as a candidate; a killed run goes on at its checkpoint.

    `parent` is the adapter to go on from; None: from the base model. Raises NothingNew if the parent knows it all, InputError if
    the dataset or the parent holds a chat whose consent is withdrawn.
    """
    from trainer.train import adapter_name

    require_consent(settings, dataset, [parent] if parent else [])
    origin = parent.path.resolve() if parent else None
    out = settings.adapters_path.resolve() / adapter_name(dataset, base, settings.training, origin)
    out.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    recipe = settings.training.model_dump(mode="json")
    order = {"dataset": str(dataset), "base": str(base), "out": str(out), "recipe": recipe, "parent": str(origin) if origin else None}
    _work(settings, "train", order, on_event)
    # What it learned from is known here: another host may have written its manifest.
    learned_from = set(_held_by(dataset))
    if parent:
        learned_from |= set(transact(settings, lambda connection: adapters.learned_from(connection, parent.name)))
    return register(settings, out, learned_from)


def require_consent(settings: Settings, dataset: Path, used: Sequence[Adapter]) -> None:
    """Raises InputError if the dataset or one of the adapters holds a chat that may not be used any more."""
    held = _held_by(dataset)

    async def ask(connection: Any) -> None:
        await dialogs.require_consent(connection, held, f"Dataset {dataset.name[:8]}")
        for adapter in used:
            await adapters.require_consent(connection, adapter.name)

    transact(settings, ask)


def _held_by(dataset: Path) -> list[int]:
    from trainer.dataset_reader import read_manifest

    return list(read_manifest(dataset)["dialog_ids"])


def _work(settings: Settings, job: str, order: dict[str, Any], on_event: Listener) -> Any:
    """Have a job of `trainer.jobs` done where the settings say; returns its result."""
    return launchers.run(settings, job, order, on_event)


def into(progress: Progress, screen: Screen | None = None) -> Listener:
    """What to do with a worker's events: the estimate becomes a line, the rest goes into the bar."""

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "progress":
            progress(event["done"], event["total"], event["note"])
        elif event["event"] == "estimate" and screen:
            screen.say(Text(_estimate_line(event), style="dim"))

    return listen


def _estimate_line(event: dict[str, Any]) -> str:
    weights = f"{event['trainable'] / 1e6:.1f} of {event['parameters'] / 1e6:.0f} million weights"
    cost = f"{event['memory_gib']:.1f} GiB, {event['flops'] / 1e12:,.0f} TFLOP, about {duration(event['seconds'])} on {event['device']}"
    return f"{event['examples']:,} examples, {event['tokens']:,} tokens an epoch; {weights}; {cost}"


def register(settings: Settings, folder: Path, learned_from: Collection[int] = ()) -> Adapter:
    """Note a sealed adapter folder in the store; a known one stays as it is. `learned_from`: dialogs, beside those of its manifest."""
    manifest = read_adapter(folder)

    async def work(connection: Any) -> Adapter:
        await adapters.add(
            connection,
            name=folder.name,
            path=folder,
            base_model=manifest["base"]["name"],
            parent=manifest.get("parent"),  # none of a full run, whatever is active
            dataset_hash=manifest["dataset"],
            metrics={"training": manifest["metrics"]},
            dialog_ids={*manifest["dialog_ids"], *learned_from},
            at=utc_now(),
        )
        known = await adapters.get(connection, folder.name)
        assert known is not None
        return known

    return transact(settings, work)


def read_adapter(folder: Path) -> dict[str, Any]:
    """The manifest of a sealed adapter. Raises ModelError if the folder is not complete."""
    listed = "`twin adapters` lists those there are."
    try:
        manifest = read_object(folder / "manifest.json", mend=listed, error=ModelError)
    except ModelError as exc:
        raise ModelError(f"{folder} is not a complete adapter.", mend=listed) from exc
    base = manifest.get("base")
    if not manifest.keys() >= {"dataset", "dialog_ids", "metrics"} or not isinstance(base, dict) or "name" not in base:
        raise ModelError(f"{folder} is not a complete adapter: its manifest.json is of something else.", mend=listed)
    return manifest


def evaluate(settings: Settings, dataset: Path, base: Path, tested: Sequence[Adapter], progress: Progress, *, items: int) -> Figures:
    """Figures of the base model and of each adapter, by name ("base", "owner" for the ceiling); kept in the store too.

    Raises InputError if the dataset or an adapter holds a chat whose consent is withdrawn.
    """
    require_consent(settings, dataset, tested)
    engine = settings.engine
    generic = settings.training.generic_path
    order = {
        "dataset": str(dataset),
        "base": str(base),
        "adapters": [str(adapter.path) for adapter in tested],
        "items": items,
        "sampling": {"temperature": engine.temperature, "top_p": engine.top_p, "max_new_tokens": engine.max_new_tokens, "seed": 0},
        "generic": str(generic.resolve()) if generic else None,
        "cache": str(settings.data.resolve() / "evaluations"),
    }
    found: Figures = _work(settings, "evaluate", order, into(progress))
    for adapter in tested:
        record(settings, adapter.name, found)
    return found


def judge(settings: Settings, found: Figures, candidate: Adapter, live: Adapter | None) -> Verdict:
    """The gate's word on a candidate; kept beside its figures in the store."""
    from trainer.gate import judge

    new_targets = read_adapter(candidate.path)["mixture"]["new_targets"]
    verdict = judge(found, candidate=candidate.name, live=live.name if live else None, gate=settings.gate, new_targets=new_targets)

    async def work(connection: Any) -> None:
        known = await adapters.get(connection, candidate.name)
        if known:
            await adapters.record_metrics(connection, candidate.name, {**known.metrics, "gate": asdict(verdict)})

    transact(settings, work)
    return verdict


def record(settings: Settings, name: str, figures: dict[str, Any]) -> None:
    """Keep an adapter's figures beside the base model's; numbers only, the answers are people's words."""
    holdout = {"base": numbers(figures["base"]), "adapter": numbers(figures[name])}

    async def work(connection: Any) -> None:
        known = await adapters.get(connection, name)
        if known:
            await adapters.record_metrics(connection, name, {**known.metrics, "holdout": holdout})

    transact(settings, work)


def numbers(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in figures.items() if isinstance(value, int | float)}


def promote(settings: Settings, base: Path, adapter: Adapter) -> None:
    """Prove the adapter in the running engine, then move the pointer in one transaction. Raises ModelError or EngineError."""
    from inference.promotion import prove

    asyncio.run(prove(settings, base, ActiveAdapter(adapter.name, adapter.path)))
    transact(settings, lambda connection: adapters.promote(connection, adapter.name, utc_now()))
