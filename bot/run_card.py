"""How a run looks in the owner's chat: a message that follows it, and the result card that it ends as."""

from __future__ import annotations

import json
from dataclasses import dataclass
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
BAR = 16
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
HEADS = {"promoted": "✅ A new adapter is live", "waiting": "🌓 A new adapter waits for you", "refused": "✋ The old adapter stays"}


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
    """None if the night came to no comparison, or its folder is gone."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Result(manifest, answers, folder / "card.png")


def live(run: Run) -> Text:
    """The message while it runs: stages done with their time, the running one with a bar and what is left."""
    told = run.progress.get("stages") or []
    parts: list[Any] = [Bold("🌙 Tonight's run" if run.trigger == "schedule" else "🌙 Retraining"), "\n"]
    for stage in told[:-1]:
        parts.append(f"✓ {STAGES.get(stage['name'], stage['name'])} · {duration(stage['seconds'])}\n")
    if told:
        now = told[-1]
        done, total = run.progress.get("done") or 0.0, run.progress.get("total")
        parts += ["▸ ", Bold(STAGES.get(now["name"], now["name"]))]
        if total:
            share = min(1.0, done / total)
            left = now["seconds"] * (1 - share) / share if share > 0.02 else None
            parts.append(f"\n{bar(share)} {share:.0%}" + (f" · about {duration(left)} left" if left else ""))
        if run.progress.get("note"):
            parts += ["\n", Italic(run.progress["note"])]
    else:
        parts.append("starting …")
    return Text(*parts)


def ended(run: Run, line: str) -> Text:
    """What the live message becomes when there is no card."""
    heads = {"failed": "⚠️ The run failed", "cancelled": "⏹ The run was stopped", "done": "🌙 Nothing new"}
    return Text(Bold(heads.get(run.state, "The run ended")), "\n", cut(line, MAX_TEXT - 64))


def caption(result: Result, run: Run) -> Text:
    """Verdict and numbers; what the owner decided since stands in the row."""
    manifest, outcome = result.manifest, run.detail.get("outcome", result.manifest["outcome"])
    head = Bold(HEADS.get(outcome, "The old adapter stays"))
    figures = manifest["figures"]
    old, new = figures[manifest["parent"] or "base"], figures[manifest["adapter"]]
    lines = []
    for name, label, digits in FIGURES:
        if name in old and name in new:
            lines.append(f"{label}: {old[name]:.{digits}f} → {new[name]:.{digits}f}")
    more = f"{manifest['new_messages']:,} new messages · {manifest['adapter']}"
    body = "\n".join(lines)
    line = cut(str(run.detail.get("line", manifest["line"])), MAX_CAPTION - length(body) - length(more) - 80)
    return Text(head, "\n", line, "\n\n", body, "\n\n", Italic(more))


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


def bar(share: float) -> str:
    filled = round(share * BAR)
    return "▰" * filled + "▱" * (BAR - filled)


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
