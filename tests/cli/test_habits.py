"""How the owner answers, as `twin dataset` shows it."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

from cli_scene import keep_contact, on_store
from factories import chat, me, them
from rich.console import Console

from trainer.dataset import ContactCount
from twin.cli import habits
from twin.settings import load_settings
from twin.store import dialogs

CONTACTS = ((11, "Ada", 2.0), (12, "Ben [b]", 60.0), (13, "Cleo", 5.0), (14, "Dan", 5.0))  # and after how many minutes they are answered


def test_a_row_for_everybody_and_one_for_each_contact_whom_the_owner_answers(data: Path):
    for dialog_id, name, minutes in CONTACTS:
        said = [one for _ in range(9) for one in (them("hm?", after=300), me("yes", after=minutes), me("and more", after=0.1))]
        keep_contact(data, dialog_id, name, chat(*(said if dialog_id != 14 else said[::3]), dialog_id=dialog_id))
    on_store(data, lambda connection: dialogs.exclude(connection, 13, True))
    contacts = tuple(ContactCount(i, name, 27, 18, 0, "excluded" if i == 13 else None) for i, name, _ in CONTACTS)
    found = habits.learn(load_settings(None, data=data), contacts, UTC)
    assert [(dialog_id, habit.replies, habit.median_seconds) for dialog_id, _, habit in found.contacts] == [(11, 9, 120.0), (12, 9, 3600.0)]
    assert (found.total.replies, found.total.median_seconds, found.total.gap_seconds) == (18, 1860.0, 6.0)
    document = found.as_json()
    assert document["contacts"][1]["name"] == "Ben [b]"
    assert document["total"]["by_part_of_day"].keys() == {"night", "morning", "afternoon", "evening"}
    console = Console(width=200, record=True)
    console.print(habits.habits_table(found))
    shown = console.export_text()
    assert "everybody" in shown
    assert "Ben [b]" in shown
    assert "2 min" in shown
    assert "Cleo" not in shown
