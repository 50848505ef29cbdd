"""/status and /adapters in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiogram.utils.formatting import Bold, Italic, Text

from bot.context import LiveState
from twin.settings import Auto
from twin.store.adapters import Adapter
from twin.store.connections import Connection
from twin.store.overview import LastRun, Overview

MODES = ("approve", "auto", "shadow", "off")
MOST_ADAPTERS = 12


@dataclass(frozen=True)
class Reach:
    """By what the twin reaches contacts, and what holds it back. `quiet`: the quiet hours as set."""

    connection: Connection | None
    live: LiveState | None
    silent_since: datetime | None
    automatic: int  # answers of the last day
    auto: Auto


def _reach_lines(reach: Reach, now: datetime) -> list[tuple[str, str]]:
    ways = ["the bot's own chat"]
    if reach.connection:
        ways.append("Telegram Business" + ("" if reach.connection.may("can_reply") else " (may not reply)"))
    if reach.live:
        ways.append("your live session" + ("" if reach.live == "connected" else f" ({reach.live})"))
    limits = reach.auto
    line = f"{reach.automatic} of {limits.per_day} today; {limits.in_a_row} in a row, {limits.per_hour} an hour for each contact"
    lines = [("Ways", ", ".join(ways)), ("By itself", line)]
    if limits.quiet_hours:
        lines.append(("Quiet hours", limits.quiet_hours))
    if reach.silent_since:
        lines.insert(0, ("All is paused", f"{ago(reach.silent_since, now)}. /resume goes on"))
    return lines


def status(
    state: Overview,
    *,
    ways: Reach,
    default_mode: str,
    adapter: str | None,
    outage: dict[str, Any] | None,
    going_on: str | None,
    next_night: datetime,
    now: datetime,
) -> Text:
    modes = [f"{state.modes[mode]} {mode}" for mode in MODES if mode in state.modes]
    if None in state.modes:
        modes.append(f"{state.modes[None]} by default ({default_mode})")
    sends = f"{state.waiting} on the way" + (f", {state.uncertain} in doubt" if state.uncertain else "")
    failing = f"does not answer, first noticed {ago(datetime.fromisoformat(outage['since']), now)}: {outage['what']}" if outage else ""
    lines = [
        *_reach_lines(ways, now),
        ("Contacts", ", ".join(modes) or "nobody has written yet"),
        ("Drafts", f"{state.pending} waiting for you, {state.due} to be written"),
        ("Sends", sends),
        ("Adapter", adapter or "none, the base model answers"),
        ("Engine", failing or "answers"),
        ("Going on", going_on) if going_on else ("Last run", last_run(state.last_run, now)),
        ("Next night", f"{next_night:%a %d %b, %H:%M}"),
    ]
    if state.set_aside:
        lines.append(("Set aside", f"{state.set_aside} updates that could not be handled"))
    parts: list[Any] = []
    for label, value in lines:
        parts += [Bold(label), f": {value}\n"]
    return Text(*parts)


def adapter_list(known: Sequence[Adapter]) -> Text:
    if not known:
        return Text("No adapter yet: the base model answers. /retrain makes the first.")
    parts: list[Any] = []
    for adapter in reversed(known[-MOST_ADAPTERS:]):
        name = Bold(adapter.name) if adapter.state == "active" else adapter.name
        parts += ["▶ " if adapter.state == "active" else "", name, f" · {adapter.state}\n"]
        parts += [Italic(figures(adapter.metrics) or "no figures"), "\n\n"]
    if len(known) > MOST_ADAPTERS:
        parts.append(f"and {len(known) - MOST_ADAPTERS} older ones")
    return Text(*parts)


def figures(metrics: Mapping[str, Any]) -> str:
    """An adapter's figures on the holdout beside the base model's, if both are there."""
    holdout = metrics.get("holdout", metrics)
    mine, base = holdout.get("adapter", holdout), holdout.get("base", {})
    parts = []
    for name, value in mine.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            beside = f" (base {base[name]:.3g})" if isinstance(base.get(name), int | float) else ""
            parts.append(f"{name.replace('_', ' ')} {value:.3g}{beside}")
    return " · ".join(parts)


def last_run(run: LastRun | None, now: datetime) -> str:
    if run is None:
        return "none yet"
    stage = f" at {run.stage}" if run.stage and run.state == "running" else ""
    return f"{run.kind}, {run.state}{stage}, {ago(run.ended_at or run.started_at, now)}"


def ago(at: datetime, now: datetime) -> str:
    passed = now - at.astimezone(UTC)
    if passed < timedelta(minutes=1):
        return "just now"
    if passed < timedelta(hours=1):
        return f"{passed // timedelta(minutes=1)} min ago"
    if passed < timedelta(days=2):
        return f"{passed // timedelta(hours=1)} h ago"
    return f"{passed.days} days ago"
