"""A name is one clean line wherever it is shown or read, and nothing in it is an order, a number or half an emoji."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin.names import clean_name, in_prompt, named
from twin.store import dialogs, open_store
from twin.store.tables import dialogs as table
from twin.turns import system_turn

SCOTLAND = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
FAMILY, KEYCAP, GERMANY, RAINBOW = "👨‍👩‍👧‍👦", "1️⃣", "🇩🇪", "🏳️‍🌈"


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("Ada\0\x1b[31mRED\x1b[0m\x1b]0;title\a", "AdaRED"),
        ("Ada\x9b31m\x9d0;title\x9c", "Ada"),
        ("Ada\x1b]0;never ended", "Ada0;never ended"),
        ("\u202eevil", "evil"),
        ("\u2066A\u2069d\u200ea\u200f \u061cB\u202a\u202b\u202c\u202d", "Ada B"),
        ("A\u200bd\ufeffa\u2060\u00ad", "Ada"),
        ("  Ada \r\n\u2028Berg\u0085\t", "Ada Berg"),
        ("Ada\ud800", "Ada"),
        ("x\U000e0041\U000e0042y", "xy"),
        ("\u200dAda\u200d", "Ada"),
        ("A\u200dd\u200ca\ufe0f \u034fБ\u200dен\u034f", "Ada Бен"),
        ("क्\u200dष", "क्\u200dष"),
        (f"Ada {SCOTLAND}{FAMILY}{KEYCAP}{GERMANY}{RAINBOW}", f"Ada {SCOTLAND}{FAMILY}{KEYCAP}{GERMANY}{RAINBOW}"),
        ("می‌خواهم", "می‌خواهم"),
        ("עדה", "עדה"),
        ("  \n", ""),
        ("\u200b\u2800\u3164\ufe0f", ""),
        (FAMILY, FAMILY),
    ],
)
def test_a_name_is_one_line_of_what_is_seen(name: str, clean: str) -> None:
    assert clean_name(name) == clean
    assert clean_name(clean) == clean


def test_a_name_without_an_end_is_cut_between_its_characters() -> None:
    for one in (SCOTLAND, FAMILY, KEYCAP, GERMANY):
        cut = clean_name(one * 1000)
        assert 0 < len(cut) < 200
        assert cut.removesuffix("…").replace(one, "") == ""


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("Plumber +49 170 1234567", "Plumber [phone]"),
        ("Plumber0170/1234567", "Plumber[phone]"),
        ("8 (900) 123-45-67", "[phone]"),
        ("+4\u200b9 170 12\u200e34567", "[phone]"),
        ("Jo 5551234", "Jo [phone]"),
        ("ivan.petrov@example.org", "[email]"),
        ("Ivan <ivan.petrov@example.org>", "Ivan <[email]>"),
        ("Lena 24/7", "Lena 24/7"),
        ("Max 12.05.1990", "Max 12.05.1990"),
        ("", "a friend"),
        ("\u202e\0", "a friend"),
    ],
)
def test_the_prompt_names_a_contact_without_numbers_and_addresses(name: str, read: str) -> None:
    assert system_turn("Olga", name).content == f"You are Olga, chatting with {read}."


def test_the_owners_name_in_the_prompt_is_read_the_same_way() -> None:
    assert system_turn("Olga\n+49 170 1234567", "Ada").content == "You are Olga [phone], chatting with Ada."
    assert in_prompt("Ada") == "Ada"


def test_a_contact_without_a_name_is_no_name_and_two_of_one_name_are_told_apart() -> None:
    assert named("Anna", username="anna_b", dialog_id=7, is_shared=False) == "Anna"
    assert named("Anna", username="anna_b", dialog_id=7, is_shared=True) == "Anna (@anna_b)"
    assert named("Anna", username=None, dialog_id=7, is_shared=True) == "Anna (7)"
    assert named("\u200f", username=None, dialog_id=7, is_shared=False) == "no name"
    assert named("x" * 300, username="anna_b", dialog_id=7, is_shared=True).endswith("… (@anna_b)")


async def test_the_store_gives_back_clean_names_those_of_an_older_version_too(tmp_path: Path) -> None:
    store = open_store(tmp_path / "twin.sqlite")
    async with store.begin() as connection:
        await dialogs.save(connection, 7, name="Ada\x1b[31m", username=None)
        await connection.execute(table.insert().values(dialog_id=8, name="\u202eBen\n"))
        assert [(d.dialog_id, d.name) for d in await dialogs.find(connection)] == [(7, "Ada"), (8, "Ben")]
        found = await dialogs.get(connection, 8)
        assert found is not None
        assert found.name == "Ben"
    await store.dispose()
