"""A chat whose consent is withdrawn is used at no stage, whatever was built and trained from it before."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cli_scene import keep_adapter, keep_contact, on_store, twin

from twin.cli import stages
from twin.cli.folder import DATASET
from twin.settings import load_settings
from twin.store import adapters, facts

ADA, BEN = 11, 12


@pytest.fixture
def people(data: Path) -> Path:
    """Two contacts who agreed, a dataset and two adapters; the first holds Ben's chat only."""
    keep_contact(data, ADA, "Ada Berg", consent=True)
    keep_contact(data, BEN, "Ben Ode", consent=True)
    folder = data / "datasets" / "d1"
    folder.mkdir(parents=True)
    manifest = {"files": {}, "rules": "", "tokenizer": "", "dialog_ids": [ADA, BEN], "train_until": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    on_store(data, lambda connection: facts.put(connection, DATASET, "d1"))
    keep_adapter(data, "one", dialog_ids=[BEN])
    keep_adapter(data, "two", dialog_ids=[ADA, BEN])
    return data


def withdraw(data: Path, name: str = "Ada", *how: str) -> None:
    assert twin("contacts", name, *(how or ("--consent", "revoked", "--words", "no more")), "--data", data).code == 0


@pytest.mark.parametrize("command", [["train"], ["train", "--full"], ["evaluate"], ["evaluate", "one"], ["adapters", "promote", "two"]])
@pytest.mark.parametrize("how", [["--consent", "revoked", "--words", "no more"], ["--exclude"]])
def test_each_stage_refuses_it_by_name(people: Path, command: list[str], how: list[str]) -> None:
    withdraw(people, "Ada", *how)
    ran = twin(*command, "--data", people)
    assert (ran.code, "Ada Berg" in ran.err, "Ben Ode" in ran.err) == (1, True, False)
    assert on_store(people, adapters.active) is None


def test_what_does_not_hold_it_goes_live(people: Path) -> None:
    withdraw(people)
    assert twin("adapters", "promote", "one", "--data", people).code == 0


def test_rolling_back_passes_it_over(people: Path) -> None:
    for name in ("two", "one"):
        assert twin("adapters", "promote", name, "--data", people).code == 0
    withdraw(people)
    assert twin("adapters", "rollback", "--data", people, "--json").document["active"] is None


def test_rolling_back_leads_to_the_base_model_where_every_adapter_holds_it(people: Path) -> None:
    """Else the active one, which holds it too, would have to stay."""
    for name in ("two", "one"):
        assert twin("adapters", "promote", name, "--data", people).code == 0
    withdraw(people)
    withdraw(people, "Ben")
    assert twin("adapters", "rollback", "--data", people, "--json").document["active"] is None
    assert on_store(people, adapters.active) is None


def test_rolling_back_goes_on_to_the_newest_that_does_not_hold_it(people: Path) -> None:
    keep_adapter(people, "three")
    on_store(people, lambda connection: adapters.promote(connection, "one", datetime.now(UTC)))
    for name in ("two", "three"):
        on_store(people, lambda connection, name=name: adapters.promote(connection, name, datetime.now(UTC)))
    withdraw(people)
    assert twin("adapters", "rollback", "--data", people, "--json").document["active"] == "one"


def test_rolling_back_from_it_is_always_possible(people: Path) -> None:
    for name in ("one", "two"):
        assert twin("adapters", "promote", name, "--data", people).code == 0
    withdraw(people)
    assert twin("adapters", "rollback", "--data", people, "--json").document["active"] == "one"


def test_an_adapter_of_another_host_cannot_leave_out_what_it_learned_from(people: Path) -> None:
    folder = keep_adapter(people, "three")
    on_store(people, lambda connection: adapters.retire(connection, "three"))
    forged = folder.rename(folder.with_name("four"))
    found = stages.register(load_settings(None, data=people), forged, {ADA})
    assert on_store(people, lambda connection: adapters.learned_from(connection, found.name)) == [ADA]
    withdraw(people)
    assert "Ada Berg" in twin("adapters", "promote", "four", "--data", people).err


def test_who_agrees_again_is_used_again(people: Path) -> None:
    withdraw(people)
    withdraw(people, "Ada", "--consent", "given", "--words", "all right")
    assert twin("adapters", "promote", "two", "--data", people).code == 0
