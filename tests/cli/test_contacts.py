"""Consent, mode and exclusion are set by name, and only on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_scene import keep_adapter, keep_contact, on_store, twin

from twin.store import dialogs


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
