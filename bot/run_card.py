"""How a run looks in the owner's chat: a message that follows it, and the result card that it ends as."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Any

from aiogram.filters.callback_data import CallbackData
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup
from aiogram.utils.formatting import BlockQuote, Bold, Italic, Text

from twin.store.runs import Run
from twin.turns import split_bubbles
from twin.utf16 import cut, length

MAX_CAPTION = 1024  # UTF-16 units, https://core.telegram.org/bots/api#sendphoto
MAX_TEXT = 4096
SHOWN = 5  # side-by-side answers
BAR = 12  # with what follows it, one line on a phone
STAGES = {
    "collect": "Reading new messages",
    "prepare": "Preparing the base model",
    "dataset": "Building the dataset",
    "train": "Training",
    "evaluate": "Comparing old and new",
    "promote": "Switching over",
}
FIGURES = (
    ("loss", "Loss on unseen replies", 3),
    ("anchor_loss", "Loss on older talks", 3),
    ("generic_loss", "Loss on general text", 3),
    ("context_choice", "Fits what it answers", 2),
    ("distinct", "Different answers", 2),
    ("style", "Style like yours", 2),
)
HEADS = {
    "promoted": "✅ A new adapter is live",
    "waiting": "🌓 A new adapter waits for you",
    "refused": "✋ The old adapter stays",
    "kept": "✋ The old adapter stays",
    "overtaken": "✋ Overtaken by another adapter",
    "rolled back": "↩️ Rolled back",
    "replaced": "☑️ Another adapter is live by now",
}


class RunTap(CallbackData, prefix="n"):
    """A button of a result card: promote | keep | back."""

    action: str
    run_id: str


@dataclass(frozen=True)
class Result:
    """A sealed run folder."""

    manifest: dict[str, Any]
    answers: list[dict[str, str]]
    picture: Path


def read_result(folder: Path) -> Result | None:
    """None if the night came to no comparison, or its folder is gone or damaged."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Result(manifest, answers, folder / "card.png")


def live(run: Run, zone: tzinfo) -> Text:
    """The message while it runs: stages done with their time, the running one with a bar and what is left, those to come."""
    told = run.progress.get("stages") or []
    parts: list[Any] = [Bold(_title(run, zone)), "\n"]
    for stage in told[:-1]:
        parts.append(f"✓ {STAGES.get(stage['name'], stage['name'])} · {duration(stage['seconds'])}\n")
    if told:
        parts += ["▸ ", Bold(STAGES.get(told[-1]["name"], told[-1]["name"]))]
        share, left = _share(run)
        if share is not None:
            parts.append(f"\n{bar(share)} {share:.0%}" + (f" · {duration(left)} left" if left else ""))
        if run.progress.get("note"):
            parts += ["\n", Italic(run.progress["note"])]
        parts += [f"\n○ {STAGES[name]}" for name in _to_come(told[-1]["name"])]
    else:
        parts.append("starting …")
    return Text(*parts)


def glance(run: Run) -> str:
    """The same in a line."""
    share, left = _share(run)
    parts = [STAGES.get(run.stage, run.stage) or "starting", f"{share:.0%}" if share is not None else ""]
    return ", ".join(part for part in (*parts, f"about {duration(left)} left" if left else "") if part)


def ended(run: Run, outlook: str) -> Text:
    """What the live message becomes when there is no card. `outlook`: whether it is tried again."""
    line = run.error if run.state == "failed" else str(run.detail.get("line") or "")
    if run.state == "cancelled":
        stopped = run.stop_asked_at is not None or run.trigger == "terminal"
        head = "⏹ The run was stopped" if stopped else "⏸ The run was interrupted"
        line = "What was finished by then is kept for the next one." if stopped else ""
    else:
        nothing = run.detail.get("outcome") == "nothing new"
        head = "⚠️ The run failed" if run.state == "failed" else "🌙 Nothing new to learn" if nothing else "✓ The run is done"
    return Text(Bold(head), *(["\n", cut(words, MAX_TEXT - 200)] if (words := line or "") else []), *(["\n", outlook] if outlook else []))


def caption(result: Result | None, run: Run) -> Text:
    """Verdict and numbers; what came of it since stands in the row."""
    manifest: Mapping[str, Any] = result.manifest if result else {}
    outcome, said = run.detail.get("outcome", manifest.get("outcome")), str(run.detail.get("line", ""))
    verdict = str(manifest.get("line", said))
    parts: list[Any] = [Bold(HEADS.get(str(outcome), "The old adapter stays")), "\n"]
    if said != verdict:
        parts += [cut(said, 200), "\n"]
    body, more = "\n".join(_figures(manifest)), _origin(manifest, run)
    room = MAX_CAPTION - length(Text(*parts).as_kwargs()["text"]) - length(body) - length(more) - 8
    parts += ["\n", cut(verdict, room)]
    if body:
        parts += ["\n\n", body]
    return Text(*parts, "\n\n", Italic(more))


def keyboard(run: Run) -> InlineKeyboardMarkup | None:
    def button(text: str, action: str, style: str | None = None) -> InlineKeyboardButton:
        return InlineKeyboardButton(text=text, callback_data=RunTap(action=action, run_id=run.run_id).pack(), style=style)

    match run.detail.get("outcome"):
        case "waiting":
            return InlineKeyboardMarkup(inline_keyboard=[[button("Promote", "promote", "primary"), button("Keep old", "keep")]])
        case "promoted":
            return InlineKeyboardMarkup(inline_keyboard=[[button("Roll back", "back")]])
        case _:
            return None


def side_by_side(result: Result) -> Text:
    """What both said to the same messages, as many as fit."""
    live_name = "Live" if result.manifest["parent"] else "Base model"
    parts: list[Any] = [Bold("Old and new, on messages that neither has seen")]
    used = length("".join(map(str, parts)))
    for row in result.answers[:SHOWN]:
        quote = cut(" / ".join(split_bubbles(row["message"])) or "…", 200)
        lines = [
            (label, cut(" / ".join(split_bubbles(words)) or "(no words)", 180))
            for label, words in (("You", row["owner"]), (live_name, row["live"]), ("New", row["new"]))
        ]
        size = length(quote) + sum(length(label) + length(words) + 4 for label, words in lines) + 4
        if used + size > MAX_TEXT - 16:
            break
        used += size
        parts += ["\n\n", BlockQuote(quote)]
        for label, words in lines:
            parts += ["\n", Bold(f"{label}: "), words]
    return Text(*parts)


def _title(run: Run, zone: tzinfo) -> str:
    if run.trigger == "schedule" and run.night_at:
        return f"🌙 Night of {run.night_at.astimezone(zone):%a %d %b, %H:%M}"
    return "🔄 Retraining" if run.trigger == "owner" else "🔄 Retraining, started in a terminal"


def _to_come(stage: str) -> list[str]:
    names = list(STAGES)
    return [name for name in names[names.index(stage) + 1 :] if name != "promote"] if stage in names else []


def _share(run: Run) -> tuple[float | None, float | None]:
    """How much of the stage is done, and the seconds it still takes if it goes on like this."""
    done, total, told = run.progress.get("done") or 0.0, run.progress.get("total"), run.progress.get("stages") or []
    if not total:
        return None, None
    share = min(1.0, done / total)
    return share, told[-1]["seconds"] * (1 - share) / share if told and 0.02 < share < 1 else None


def _figures(manifest: Mapping[str, Any]) -> list[str]:
    figures = manifest.get("figures", {})
    old, new = figures.get(manifest.get("parent") or "base", {}), figures.get(manifest.get("adapter"), {})
    shown = [(name, label, digits) for name, label, digits in FIGURES if name in old and name in new]
    return [f"{label}: {old[name]:.{digits}f} → {new[name]:.{digits}f}" for name, label, digits in shown]


def _origin(manifest: Mapping[str, Any], run: Run) -> str:
    """Which adapter, from what, how long it took."""
    came = manifest.get("new_messages")
    took = (run.ended_at - run.started_at).total_seconds() if run.ended_at else 0.0
    parts = [f"{came:,} new messages" if came else "", f"took {duration(took)}", str(run.detail.get("adapter", ""))]
    return " · ".join(part for part in parts if part)


def bar(share: float) -> str:
    filled = round(share * BAR)
    return "▰" * filled + "▱" * (BAR - filled)


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
