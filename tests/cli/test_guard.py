"""Whatever happens, a person gets a sentence and a machine gets a document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from twin.cli.guard import guarded
from twin.cli.terminal import Data, Debug, Json
from twin.errors import InputError

WORDS = "meet me at the harbour"


def command(error: BaseException) -> typer.Typer:
    app = typer.Typer(add_completion=False)

    @app.command()
    @guarded
    def fail(data: Data = None, as_json: Json = False, debug: Debug = False) -> None:
        try:
            raise error
        except ValueError as exc:
            raise LookupError(WORDS) from exc

    return app


def test_an_error_of_ours_is_a_sentence_and_a_mend(data: Path) -> None:
    ran = CliRunner().invoke(command(InputError("The file is empty.", mend="Take another.")), ["--data", str(data)])
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr == "The file is empty.\nTake another.\n"


def test_with_json_it_is_a_document_on_stdout(data: Path) -> None:
    ran = CliRunner().invoke(command(InputError("The file is empty.", mend="Take another.")), ["--data", str(data), "--json"])
    assert json.loads(ran.stdout) == {"error": "The file is empty.", "mend": "Take another."}
    assert ran.exit_code == 1


def test_what_nobody_expected_is_one_line_and_its_frames_are_in_the_log_without_words(data: Path) -> None:
    ran = CliRunner().invoke(command(ValueError(WORDS)), ["--data", str(data)])
    assert ran.exit_code == 1
    assert ran.stderr.startswith("Unexpected: LookupError at cli/test_guard.py:")
    assert "Traceback" not in ran.stderr
    log = data / "logs" / "twin.log"
    event = json.loads(log.read_text().splitlines()[-1])
    assert event["event"] == "command.crashed"
    assert "ValueError" in event["traceback"]
    assert "test_guard.py" in event["traceback"]
    assert WORDS not in ran.stderr + ran.stdout + log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_debug_shows_the_traceback(data: Path) -> None:
    ran = CliRunner().invoke(command(ValueError(WORDS)), ["--data", str(data), "--debug"])
    assert ran.exit_code == 1
    assert "Traceback" in ran.stderr


def test_ctrl_c_is_130_and_no_traceback(data: Path) -> None:
    ran = CliRunner().invoke(command(KeyboardInterrupt()), ["--data", str(data)])
    assert (ran.exit_code, ran.stdout, ran.stderr.strip()) == (130, "", "Stopped.")


def test_wrong_settings_are_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cli_scene import twin

    monkeypatch.setenv("TWIN_ENGINE__KIND", "magic")
    ran = twin("contacts", "--data", data)
    assert ran.code == 1
    assert "TWIN_ENGINE__KIND" in ran.err
