"""Consent, mode and exclusion are set by name, and only on purpose."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from cli_scene import keep_adapter, keep_contact, on_store, twin
from export_files import ADA, BEN, account, chat, talk, written
from factories import exchanges
from rich.console import Console
from rich.table import Table

from twin.cli.terminal import Words
from twin.store import dialogs, messages


@pytest.fixture
def people(data: Path) -> Path:
    keep_contact(data, 11, "Ada Berg")
    keep_contact(data, 12, "Ada Cole", consent=True)
    return data


def dialog(data: Path, dialog_id: int) -> Any:
    return on_store(data, lambda connection: dialogs.get(connection, dialog_id))


def test_the_list_has_counts_and_consent(people: Path) -> None:
    rows = twin("contacts", "--data", people, "--json").document["contacts"]
    found = [(row["dialog_id"], row["messages"], row["owner_messages"], row["consent"]) for row in rows]
    assert found == [(11, 6, 3, None), (12, 6, 3, "given")]
    shown = twin("contacts", "--data", people)
    assert "Ada Berg @ada" in shown.out
    assert "not asked" in shown.out


@pytest.mark.parametrize("wanted", ["12", "Ada Cole", "cole"])
def test_consent_is_recorded_with_its_words(people: Path, wanted: str) -> None:
    ran = twin("contacts", wanted, "--consent", "revoked", "--words", "please stop", "--data", people, "--json")
    assert ran.code == 0
    assert dialog(people, 12).consent == "revoked"
    log = on_store(people, lambda connection: dialogs.consent_log(connection, 12))
    assert [(event, words) for event, _, words in log] == [("given", "yes"), ("revoked", "please stop")]


def test_one_contact_is_shown_alone(people: Path) -> None:
    assert [row["name"] for row in twin("contacts", "ada cole", "--data", people, "--json").document["contacts"]] == ["Ada Cole"]
    asked = twin("contacts", "ada", "--data", people)
    assert asked.code == 1
    assert "Ada Berg (@ada, 11), Ada Cole (@ada, 12)" in asked.err
    assert twin("contacts", "ada", "--all", "--mode", "off", "--data", people).code == 2


def test_consent_without_words_is_wrong_usage(people: Path) -> None:
    ran = twin("contacts", "11", "--consent", "given", "--data", people)
    assert ran.code == 2
    assert dialog(people, 11).consent is None


def test_a_name_that_fits_two_is_refused_with_their_ids(people: Path) -> None:
    ran = twin("contacts", "ada", "--mode", "off", "--data", people)
    assert ran.code == 1
    assert "11, 12" in ran.err


def test_consent_for_all_is_confirmed(people: Path) -> None:
    refused = twin("contacts", "--all", "--consent", "given", "--words", "at dinner", "--data", people)
    assert refused.code == 2
    assert dialog(people, 11).consent is None
    agreed = twin("contacts", "--all", "--consent", "given", "--words", "at dinner", "--yes", "--data", people)
    assert agreed.code == 0
    assert [dialog(people, i).consent for i in (11, 12)] == ["given", "given"]


def test_auto_is_confirmed_and_default_takes_it_back(people: Path) -> None:
    assert twin("contacts", "11", "--mode", "auto", "--data", people).code == 2
    assert twin("contacts", "11", "--mode", "auto", "--yes", "--data", people).code == 0
    assert dialog(people, 11).mode == "auto"
    assert twin("contacts", "11", "--mode", "default", "--data", people).code == 0
    assert dialog(people, 11).mode is None


def test_a_chat_is_excluded_and_included_again(people: Path) -> None:
    twin("contacts", "11", "--exclude", "--data", people)
    assert dialog(people, 11).excluded
    twin("contacts", "11", "--include", "--data", people)
    assert not dialog(people, 11).excluded


def test_revoking_names_the_adapters_that_learned_from_the_chat(people: Path) -> None:
    keep_adapter(people, "first", dialog_ids=[12])
    ran = twin("contacts", "12", "--consent", "revoked", "--words", "no", "--data", people)
    assert "first" in ran.err


def test_a_name_is_never_read_as_markup(data: Path) -> None:
    keep_contact(data, 13, "[red]Eve[/red] [bold]")
    assert "[red]Eve[/red] [bold]" in twin("contacts", "--data", data).out


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_are_one_clean_line_and_a_contact_without_one_is_no_name(data: Path) -> None:
    path = written(
        data.parent,
        account(
            chat(ADA, name="Ada\0\x1b[31mRED\x1b[0m\x1b]0;title\a"),
            chat(BEN, name="\u202eevil\nline"),
            chat(2003, talk(2003), name=None),
        ),
    )
    assert twin("import", path, "--data", data).code == 0
    shown = twin("contacts", "--data", data).out
    assert not [char for char in shown if char != "\n" and not char.isprintable()]
    assert all(name in shown for name in ("AdaRED ", "evil line ", "no name "))
    assert "forgotten" not in shown
    rows = twin("contacts", "--data", data, "--json").document["contacts"]
    assert {row["dialog_id"]: row["name"] for row in rows} == {ADA: "AdaRED", BEN: "evil line", 2003: ""}


def test_a_chat_without_a_name_that_is_excluded_is_not_forgotten_and_can_be_included_again(data: Path) -> None:
    keep(data, 2003, "")
    assert twin("contacts", "2003", "--exclude", "--data", data).code == 0
    assert twin("contacts", "2003", "--mode", "off", "--data", data).code == 0
    assert "no name" in twin("contacts", "--data", data).out
    assert twin("contacts", "2003", "--include", "--data", data).code == 0
    assert dialog(data, 2003).excluded is False
    assert twin("contacts", "no name", "--exclude", "--data", data).code == 0
    assert twin("forget", "2003", "--yes", "--data", data).code == 0
    assert "(forgotten)" in twin("contacts", "--data", data).out
    assert twin("contacts", "2003", "--include", "--data", data).code == 1


# --- who is meant -----------------------------------------------------------------------------------------------------


def keep(data: Path, dialog_id: int, name: str, *, username: str | None = None, channel: str = "account") -> None:
    async def work(connection: Any) -> None:
        await dialogs.save(connection, dialog_id, name=name, username=username)
        await messages.save(connection, [m._replace(channel=channel) for m in exchanges(1, dialog_id=dialog_id)])

    on_store(data, work)


def modes_of(data: Path) -> dict[int, str | None]:
    return {found.dialog_id: found.mode for found in on_store(data, dialogs.find)}


@pytest.mark.parametrize(
    ("known", "wanted", "meant"),
    [
        ({1: "Anna", 2: "Anna Berg"}, "anna", 1),
        ({1: "Anna Berg", 2: "Ben"}, "anna", 1),
        ({1: "Joanna", -2: "Anna"}, "Anna", 1),
        ({1: "Anna", -2: "Anna"}, "Anna", 1),
        ({1: "Ben", -2: "Anna", -3: "Anna Berg"}, "Anna", -2),
        ({1: "007", 2: "Ben"}, "007", 1),
        ({1: "A\u0301nna"}, "Ánna", 1),
        ({1: "Anna", 2: "anna"}, "Anna", None),
        ({1: "Anna Berg", 2: "Anna Cole"}, "Anna", None),
        ({-1: "Anna", -2: "Anna"}, "Anna", None),
        ({1: "Anna"}, "\u200f", None),
    ],
)
def test_a_whole_name_comes_before_a_part_and_a_contact_before_a_stranger(
    data: Path, known: dict[int, str], wanted: str, meant: int | None
) -> None:
    """Numbers below zero are strangers: they have written to the bot only."""
    for number, name in known.items():
        keep(data, 100 + abs(number), name, channel="account" if number > 0 else "bot")
    ran = twin("contacts", wanted, "--mode", "off", "--data", data)
    assert ran.code == (1 if meant is None else 0)
    assert modes_of(data) == {100 + abs(number): "off" if number == meant else None for number in known}


def test_two_of_one_name_are_a_question_that_tells_them_apart(data: Path) -> None:
    keep(data, 11, "Anna", username="anna_b")
    keep(data, 12, "Anna")
    ran = twin("contacts", "Anna", "--mode", "auto", "--yes", "--data", data)
    assert ran.code == 1
    assert "Anna (@anna_b, 11), Anna (12)" in ran.err
    assert modes_of(data) == {11: None, 12: None}


SCOTLAND = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


@pytest.mark.parametrize("one", ["🇩🇪", SCOTLAND, "👨‍👩‍👧‍👦", "1️⃣", "👍🏽"])
@pytest.mark.parametrize("width", range(2, 12))
def test_a_narrow_column_tears_no_flag_and_passes_no_escapes_on(one: str, width: int) -> None:
    grid = Table(box=None, pad_edge=False, padding=0)
    grid.add_column(overflow="fold")
    grid.add_row(Words(f"\x1b[31ma\x1b]0;title\a{one * 9}\nb {one}"))
    console = Console(width=width, file=io.StringIO())
    console.print(grid)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert "".join(lines).replace(" ", "") == f"a{one * 9}b{one}"
    assert all(set(line.replace(one, "")) <= {"a", "b", " "} for line in lines)
