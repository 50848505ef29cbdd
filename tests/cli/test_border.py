"""A terminal gets every text, in what encoding it has, and no text commands it."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_scene import Ran, keep_adapter, keep_contact, twin
from export_files import OWNER, account, chat, message, written

from twin.cli import COMMANDS, app, border
from twin.cli.logs import log_to
from twin.cli.terminal import Screen, table

EVIL = "\x1b]0;owned\x07\x1b[31mZoë\x1b[2J\x9b5m\u202etxt.exe\u2066 日本 [/bold] :smile: \x7f\r"
NAMED = "Zoëtxt.exe 日本 [/bold] :smile:"  # as the store keeps a name (twin.names)
COMMANDS_A_TERMINAL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def twin_in(encoding: str, *arguments: object, stdin: bytes = b"", is_terminal: bool = False) -> Ran:
    """`twin ARGUMENTS` with standard streams of that encoding, which take nothing else."""

    class Stream(io.TextIOWrapper):
        def isatty(self) -> bool:
            return is_terminal

    out, err = (Stream(io.BytesIO(), encoding=encoding, errors="strict", write_through=True) for _ in range(2))
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding=encoding, errors="strict"))
        try:
            app([str(argument) for argument in arguments], prog_name="twin")
        except SystemExit as end:
            code = int(end.code or 0)
    return Ran(code, out.buffer.getvalue().decode(encoding), err.buffer.getvalue().decode(encoding))  # type: ignore[attr-defined]


@pytest.fixture
def evil_folder(data: Path) -> Path:
    keep_contact(data, 7, EVIL, consent=True)
    keep_adapter(data, "tiny-1")
    return data


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1251"])
@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_is_shown_in_every_encoding(name: str | None, encoding: str) -> None:
    ran = twin_in(encoding, *filter(None, [name]), "--help")
    assert (ran.code, "--help" in ran.out) == (0, True)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("is_terminal", [False, True])
def test_tables_questions_and_errors_are_shown_in_every_encoding_and_command_nothing(
    evil_folder: Path, tmp_path: Path, encoding: str, is_terminal: bool
) -> None:
    export = written(tmp_path, account(chat(8, [message(1, 8, EVIL)], name=EVIL), chat(9, kind=EVIL)))
    broken = written(tmp_path, f'{{"{EVIL}": nothing', name="broken.json")
    for arguments, code in (
        (["contacts"], 0),
        (["contacts", EVIL], 0),
        (["contacts", EVIL, "--mode", "off"], 0),
        (["contacts", "7", "--mode", EVIL], 2),
        (["contacts", "7", "--mode", "auto"], 1 if is_terminal else 2),
        (["adapters"], 0),
        (["adapters", "promote", EVIL], 1),
        (["doctor"], 1),
        (["import", export], 0),
        (["import", broken], 1),
        (["import", EVIL], 1),
        (["forget", "7"], 1 if is_terminal else 2),
        (["dataset", EVIL], 2),
    ):
        ran = twin_in(encoding, *arguments, "--data", evil_folder, stdin=b"n\n", is_terminal=is_terminal)
        said = ran.out + ran.err
        if is_terminal:  # colours and the progress bar's moves are our own
            said = re.sub(r"\x1b\[(?:[0-9;]*m|\?25[lh]|[12]K|1A)|\r", "", said)
        assert ran.code == code, (arguments, said)
        assert "Unexpected" not in said
        assert not COMMANDS_A_TERMINAL.search(said), (arguments, said)
    if encoding == "utf-8":
        assert NAMED in twin_in(encoding, "contacts", "--data", evil_folder).out
    assert OWNER


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_the_same_document_in_every_encoding(evil_folder: Path, encoding: str) -> None:
    ran = twin_in(encoding, "contacts", "--json", "--data", evil_folder)
    assert json.loads(ran.out)["contacts"][0]["name"] == NAMED
    assert not COMMANDS_A_TERMINAL.search(ran.out)


def test_half_a_character_is_escaped_in_json_and_replaced_for_a_person() -> None:
    ran = twin_in("utf-8", "import", "caf\udce9", "--json")
    assert "caf\udce9" in json.loads(ran.out)["error"]
    assert "caf?" in twin_in("utf-8", "import", "caf\udce9").err


def test_a_bar_is_drawn_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    err = Terminal(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stderr", err)
    with border.bordered(), Screen().bar("Reading Zoë…") as progress:
        progress(1, 2, "[/nothing] \x1b[2J日本")
    err.flush()
    shown = err.buffer.getvalue()  # type: ignore[attr-defined]
    assert b"[/nothing] [2J??" in shown
    assert b"Reading Zo?." in shown


def test_a_table_keeps_its_columns_where_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    grid = table("", "name", "count")
    grid.add_row("a\x1b\u202eb", "1")
    grid.add_row("ab", "2")
    Screen().show(grid)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].index("1") == lines[2].index("2")


def test_log_lines_on_stderr_are_one_line_each_and_command_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import structlog

    log_to(tmp_path, also_to_stderr=True)
    structlog.get_logger().info("file.read", path=EVIL + "\nforged")
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert not COMMANDS_A_TERMINAL.search(err)


@pytest.mark.parametrize(
    ("sent", "read"),
    [("Grüße".encode(), "Grüße"), ("Grüße".encode("latin-1"), "Gr\ufffd\ufffde"), (b"\xff\xfe", "\ufffd\ufffd"), (b"", "")],
)
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_line_is_read_in_whatever_encoding_it_comes(sent: bytes, read: str, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sent + b"\nnext"), encoding=encoding, errors="strict"))
    with border.bordered():
        assert border.read_line() == read


def test_a_path_with_brackets_is_a_path(tmp_path: Path) -> None:
    ran = twin("import", tmp_path / "[red]x[/nothing]", "--data", tmp_path / "[/b]data")
    assert (ran.code, "[red]x[/nothing]" in ran.err) == (1, True)
    keep_contact(tmp_path / "[/b]data", 7, "Ada")
    keep_adapter(tmp_path / "[/b]data", "tiny-1", dialog_ids=[7])
    ran = twin("forget", "7", "--yes", "--data", tmp_path / "[/b]data")
    assert (ran.code, "[/b]data" in ran.out) == (0, True)


def test_a_name_that_the_locale_does_not_know_is_found_and_kept(data: Path) -> None:
    """Where the locale is C, Python gives arguments with a surrogate for each byte above 127."""
    keep_contact(data, 7, "Zoë")
    arguments = ["contacts", "Zo\udcc3\udcab", "--consent", "given", "--words", "J\udce9 oui \udcc3\udca9"]
    ran = twin(*arguments, "--json", "--data", data)
    assert ran.code == 0
    assert [contact["consent"] for contact in ran.document["contacts"]] == ["given"]


IN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("arguments", [["contacts", "Zoë", "--mode", "off"], ["contacts", "--json"], ["doctor"]])
def test_a_whole_process_in_the_locale_c_says_all_it_has_to_say(arguments: list[str], data: Path) -> None:
    keep_contact(data, 7, "Zoë 日本")
    command = [sys.executable, "-m", "twin", *arguments, "--data", str(data)]
    ran = subprocess.run(command, capture_output=True, env=os.environ | IN_C, timeout=120)
    assert (ran.returncode, b"Unexpected" in ran.stderr, ran.stdout.isascii()) == (1 if arguments == ["doctor"] else 0, False, True)


def test_a_folder_that_the_locale_cannot_name_is_said(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "twin", "contacts"]
    ran = subprocess.run(command, capture_output=True, env=os.environ | IN_C, cwd=_with_env(tmp_path), timeout=120)
    assert (ran.returncode, b"Unexpected" in ran.stderr, b"LANG=C.UTF-8" in ran.stderr) == (1, False, True)


def _with_env(folder: Path) -> Path:
    (folder / ".env").write_text("TWIN_DATA=dätä\n", encoding="utf-8")
    return folder
