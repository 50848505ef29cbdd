"""--data, --json and --debug stand before a command's name as well as behind it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_scene import keep_contact, twin

from twin.cli import COMMANDS, load


@pytest.mark.parametrize("arguments", [["contacts"], ["adapters"], ["contacts", "Ada", "--mode", "off"], ["doctor"]])
def test_the_data_folder_and_json_are_taken_before_and_behind(data: Path, arguments: list[str]) -> None:
    keep_contact(data, 7, "Ada")
    wanted = twin(*arguments, "--data", data, "--json")
    for before, behind in (
        (["--data", data, "--json"], []),
        (["--json"], ["--data", data]),
        (["--data", data], ["--json"]),
        (["--data", data, "--json"], ["--data", data, "--json"]),
    ):
        ran = twin(*before, *arguments, *behind)
        assert (ran.code, ran.document) == (wanted.code, wanted.document)
    assert not Path("data", "twin.sqlite").exists() or data == Path("data").absolute()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_three_and_gets_them(name: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    found: list[dict[str, object]] = []
    monkeypatch.setattr(typer.core.TyperCommand, "invoke", lambda self, ctx: found.append(ctx.params))
    needed = {"forget": ["Ada"], "import": ["x"], "model": ["x"]}.get(name, [])
    assert twin("--data", data, "--json", "--debug", name, *needed).code == 0
    assert [(params["data"], params["as_json"], params["debug"]) for params in found] == [(data, True, True)]
    assert {parameter.name for parameter in load(name).params} >= {"data", "as_json", "debug"}


def test_two_folders_are_a_contradiction(data: Path, tmp_path: Path) -> None:
    ran = twin("--data", data, "contacts", "--data", tmp_path / "other")
    assert (ran.code, ran.out) == (2, "")
    assert "name one" in ran.err
    assert not data.exists()


def test_one_folder_spelled_twice_is_none(data: Path) -> None:
    keep_contact(data, 7, "Ada")
    assert twin("--data", "data", "contacts", "--data", data.absolute()).code == 0


def test_errors_are_documents_with_json_before_the_command(data: Path) -> None:
    assert "error" in twin("--json", "--data", data, "contacts", "Nobody", "--mode", "off").document
