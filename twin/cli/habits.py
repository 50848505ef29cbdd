"""How the owner answers, contact by contact: what `twin dataset` shows of the tempo that automatic answers are given at."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from twin import tempo
from twin.cli.terminal import Words, duration, table
from twin.contacts import apart
from twin.history import History
from twin.settings import Settings
from twin.tempo import PARTS_OF_DAY, Habit

if TYPE_CHECKING:
    from trainer.dataset import ContactCount

MOST = 10  # contacts that have a row


@dataclass(frozen=True)
class Habits:
    """Of all private chats together, and of the contacts whom the owner answered most: (dialog id, name, habit)."""

    total: Habit
    contacts: list[tuple[int, str, Habit]]

    def as_json(self) -> dict[str, Any]:
        return {"total": asdict(self.total), "contacts": [{"dialog_id": i, "name": name, **asdict(h)} for i, name, h in self.contacts]}


def learn(settings: Settings, contacts: tuple[ContactCount, ...], zone: tzinfo) -> Habits:
    """From the owner's own chats, one in memory at a time. What is off the record is not read."""
    with closing(History(settings.store_path)) as history:
        tempos = {c: tempo.learn(history.messages("account", c.dialog_id), zone) for c in contacts if c.left_out != "excluded"}
    busiest = sorted(tempos.items(), key=lambda one: (-one[1].replies, one[0].dialog_id))[:MOST]
    return Habits(
        tempo.describe(tempo.together(tempos.values(), zone)),
        [(contact.dialog_id, contact.name, tempo.describe(known)) for contact, known in busiest if known.replies],
    )


def habits_table(habits: Habits) -> Table:
    figures = ("replies", "after", *PARTS_OF_DAY, "next bubble", "typing")
    grid = table("How you answer (medians)", "contact", *figures, right=figures)
    names = apart((dialog_id, name) for dialog_id, name, _ in habits.contacts)
    rows = [(Words(names[dialog_id]), habit) for dialog_id, _, habit in habits.contacts]
    for name, habit in [(Text("everybody", style="bold"), habits.total), *rows]:
        speed = f"{habit.characters_a_second:g} /s" if habit.characters_a_second else "–"
        parts = (_time(habit.by_part_of_day[part]) for part in PARTS_OF_DAY)
        grid.add_row(name, f"{habit.replies:,}", _time(habit.median_seconds), *parts, _time(habit.gap_seconds), speed)
    return grid


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)
