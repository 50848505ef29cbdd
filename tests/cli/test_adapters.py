"""The pointer to the active adapter moves on purpose, to whole adapters only, and a running engine follows it."""

from __future__ import annotations

from pathlib import Path

from cli_scene import keep_adapter, on_store, twin

from twin.store import adapters


def active(data: Path) -> str | None:
    found = on_store(data, adapters.active)
    return found.name if found else None


def test_an_empty_list_says_what_makes_the_first(data: Path) -> None:
    assert "twin train" in twin("adapters", "--data", data).out
    assert twin("adapters", "--data", data, "--json").document == {"active": None, "adapters": []}


def test_promote_and_roll_back_move_the_pointer(data: Path) -> None:
    for name in ("one", "two"):
        keep_adapter(data, name)
        assert twin("adapters", "promote", name, "--data", data, "--json").document["active"] == name
    assert active(data) == "two"
    listed = twin("adapters", "--data", data, "--json").document
    assert {row["name"]: row["state"] for row in listed["adapters"]} == {"one": "retired", "two": "active"}
    assert twin("adapters", "rollback", "--data", data, "--json").document == {"active": "one", "before": "two"}
    assert twin("adapters", "rollback", "--data", data, "--json").document == {"active": None, "before": "one"}
    assert twin("adapters", "rollback", "--data", data).code == 1


def test_promoting_the_active_one_again_changes_nothing(data: Path) -> None:
    for name in ("one", "two", "two"):
        if name not in [a.name for a in on_store(data, adapters.find)]:
            keep_adapter(data, name)
        assert twin("adapters", "promote", name, "--data", data).code == 0
    assert twin("adapters", "rollback", "--data", data, "--json").document["active"] == "one"


def test_an_adapter_that_is_not_whole_does_not_go_live(data: Path) -> None:
    keep_adapter(data, "torn", sealed=False)
    ran = twin("adapters", "promote", "torn", "--data", data)
    assert ran.code == 1
    assert "not a complete adapter" in ran.err
    assert active(data) is None


def test_the_table_shows_figures_beside_the_base_models(data: Path) -> None:
    keep_adapter(data, "one")
    assert "3.500 (4.000)" in twin("adapters", "--data", data).out
