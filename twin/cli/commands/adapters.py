"""`twin adapters`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import typer
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.cli.folder import open_folder, transact, utc_now
from twin.cli.guard import guarded
from twin.cli.stages import FIGURES, prepare_base_apart, read_adapter
from twin.cli.terminal import Data, Debug, Json, Screen, table
from twin.errors import InputError
from twin.generator import ActiveAdapter
from twin.progress import silent
from twin.settings import Settings
from twin.store import adapters
from twin.store.adapters import Adapter

app = typer.Typer(add_completion=False)


@app.command()
@guarded
def adapters_(
    action: Annotated[
        Literal["promote", "rollback"] | None, typer.Argument(help="What to change; without it, list.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Argument(help="The adapter to promote.", show_default=False)] = None,
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the adapters, promote one, or roll back.

    promote NAME makes an adapter the active one, whatever the gate said of it; a vLLM server has to show first that it acts as it
    was trained to. rollback goes back to the one that was active before, or to the base model. A running `twin run` follows within
    seconds, without a restart.
    """
    if (action == "promote") != (name is not None):
        raise typer.BadParameter("It goes with promote, and promote needs it.", param_hint="NAME")
    screen = Screen(as_json=as_json)
    settings = open_folder(data)
    if action is None:
        _list(settings, screen)
        return
    if name and settings.engine.kind == "vllm":
        _prove(settings, name)
    before, now = transact(settings, promoter(name) if name else _roll_back)
    if now is None:
        screen.show("The base model answers again.")
    else:
        screen.show(f"{now.name} is active." + (f" {before.name} has retired." if before and before.name != now.name else ""))
    screen.result({"active": now.name if now else None, "before": before.name if before else None})


def _prove(settings: Settings, name: str) -> None:
    """Raises ModelError or EngineError unless the running server acts with this adapter as it was trained to."""
    from inference.promotion import prove

    known = transact(settings, lambda connection: adapters.get(connection, name))
    if known:
        base = prepare_base_apart(settings, silent)
        asyncio.run(prove(settings, base, ActiveAdapter(known.name, known.path)))


Change = tuple[Adapter | None, Adapter | None]  # the active adapter before and after


def promoter(name: str) -> Callable[[AsyncConnection], Awaitable[Change]]:
    """The transaction that makes `name` the active adapter. Raises InputError or ModelError."""

    async def work(connection: AsyncConnection) -> Change:
        before, now = await adapters.active(connection), await adapters.get(connection, name)
        if now is None:
            raise InputError(f"There is no adapter named {name}.", mend="`twin adapters` lists them.")
        read_adapter(now.path)  # an incomplete folder must not go live
        if now.state != "active":  # doing it twice would make a rollback lead to itself
            await adapters.promote(connection, name, utc_now())
        return before, now

    return work


async def _roll_back(connection: AsyncConnection) -> Change:
    return await adapters.active(connection), await adapters.rollback(connection)


def _list(settings: Settings, screen: Screen) -> None:
    known = transact(settings, adapters.find)
    if known:
        grid = table("", "", "adapter", "state", "parent", "dataset", "loss (base)", "context", "distinct", "made (UTC)")
        for adapter in reversed(known):
            mark = Text("▶", style="green") if adapter.state == "active" else ""
            made = f"{adapter.created_at:%Y-%m-%d %H:%M}"
            grid.add_row(mark, adapter.name, adapter.state, adapter.parent or "–", adapter.dataset_hash[:8], *_figures(adapter), made)
        screen.show(grid)
    else:
        screen.show("No adapter yet: the base model answers. `twin train` makes the first.")
    screen.result({"active": next((a.name for a in known if a.state == "active"), None), "adapters": [as_document(a) for a in known]})


def as_document(adapter: Adapter) -> dict[str, Any]:
    return {
        "name": adapter.name,
        "state": adapter.state,
        "base_model": adapter.base_model,
        "parent": adapter.parent,
        "dataset": adapter.dataset_hash,
        "metrics": adapter.metrics,
        "path": str(adapter.path),
        "created_at": adapter.created_at.isoformat(),
        "promoted_at": adapter.promoted_at.isoformat() if adapter.promoted_at else None,
    }


def _figures(adapter: Adapter) -> tuple[str, ...]:
    holdout = adapter.metrics.get("holdout", {})
    mine, base = holdout.get("adapter", {}), holdout.get("base", {})
    if not mine:
        return ("not evaluated", "–", "–")
    loss, *rest = (f"{mine[figure]:.3f}" if figure == "loss" else f"{mine[figure]:.2f}" for figure in FIGURES)
    return (f"{loss} ({base['loss']:.3f})", *rest)
