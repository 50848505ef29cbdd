"""What any machine can have ends in a sentence that names the file and the mend."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import structlog
from cli_scene import keep_adapter, keep_contact, on_store, twin
from export_files import chat, message, written

from twin.cli import folder
from twin.errors import StoreError, TwinError
from twin.foreseen import foreseen
from twin.settings import load_settings
from twin.store import driver, engine

WRITING = (
    ["import", "result.json"],
    ["contacts", "7", "--mode", "off"],
    ["contacts", "7", "--consent", "given", "--words", "yes"],
    ["forget", "7", "--yes"],
    ["adapters", "promote", "tiny-1"],
    ["adapters", "rollback"],
    ["nightly"],
    ["dataset"],
    ["collect"],
)
READING = (["contacts"], ["adapters"], ["evaluate"], ["train"], ["run"], ["chat"], ["serve"])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits ten seconds for a lock."""
    monkeypatch.setattr(driver, "LOCKED_SECONDS", 0.05)
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0)


@pytest.fixture
def kept(data: Path) -> Path:
    keep_contact(data, 7, "Ada", consent=True)
    keep_adapter(data, "tiny-1")
    written(Path(), chat(7))
    return data


@contextmanager
def locked(store: Path, how: str) -> Iterator[None]:
    """Another connection has the file: for writing, so that readers go on, or whole."""
    if how == "whole":
        with closing(sqlite3.connect(store)) as known, closing(sqlite3.connect(store.with_suffix(".copy"))) as copy:
            known.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
        store.with_suffix(".copy").replace(store)
        for left in ("-wal", "-shm"):
            Path(f"{store}{left}").unlink(missing_ok=True)
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@pytest.mark.parametrize("how", ["for writing", "whole"])
@pytest.mark.parametrize("arguments", WRITING, ids=" ".join)
def test_a_store_that_another_program_keeps_locked_is_named(arguments: list[str], how: str, kept: Path, impatient: None) -> None:
    with locked(kept / "twin.sqlite", how):
        ran = twin(*arguments, "--data", kept)
    if arguments[0] in ("collect", "dataset") and "locked" not in ran.err:
        assert (ran.code, "Unexpected" in ran.err) == (1, False)  # it has met something else before it would write
        return
    assert ran.code == 1
    assert f"{kept / 'twin.sqlite'} is locked by another program." in ran.err
    assert "try again" in ran.err


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_so_it_is_for_who_reads_and_for_the_bots_start(
    arguments: list[str], kept: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twin.cli import stages

    monkeypatch.setattr(stages, "prepare_base", lambda *_, **__: Path("base"))
    monkeypatch.setenv("TWIN_ENGINE__API_KEY", "a-key")
    with locked(kept / "twin.sqlite", "whole"):
        ran = twin(*arguments, "--data", kept)
    assert (ran.code, f"{kept / 'twin.sqlite'} is locked" in ran.err, "Traceback" in ran.err) == (1, True, False)


def test_doctor_shows_a_locked_store_as_red(kept: Path, impatient: None) -> None:
    with locked(kept / "twin.sqlite", "whole"):
        ran = twin("doctor", "--json", "--data", kept)
    found = {check["part"]: check for check in ran.document["checks"]}
    assert (found["store"]["colour"], "is locked" in found["store"]["what"]) == ("red", True)


def test_a_training_goes_on_while_its_beat_cannot_be_kept(kept: Path, impatient: None) -> None:
    settings = load_settings(None, data=kept)
    on_store(kept, lambda connection: folder.runs.begin(connection, "run-1", "train", folder.utc_now()))
    with structlog.testing.capture_logs() as logs:
        with locked(kept / "twin.sqlite", "for writing"), folder.Training(settings, "run-1") as run:
            run.stage("train")
        assert {event["event"] for event in logs} == {"run.beat_not_kept"}


EVERYWHERE = (
    ["contacts"],
    ["import", "result.json"],
    ["adapters"],
    ["doctor"],
    ["nightly"],
    ["forget", "7", "--yes"],
    ["run"],
)


def no_database(data: Path) -> Path:
    (data / "twin.sqlite").write_bytes(b"no database at all\n" * 100)
    return data / "twin.sqlite"


def folder_for_store(data: Path) -> Path:
    (data / "twin.sqlite").unlink()
    (data / "twin.sqlite").mkdir()
    return data / "twin.sqlite"


def file_for_data(data: Path) -> Path:
    shutil.rmtree(data)
    data.write_text("a file")
    return data


def file_for_logs(data: Path) -> Path:
    shutil.rmtree(data / "logs", ignore_errors=True)
    (data / "logs").write_text("a file")
    return data / "logs"


def link_to_itself(data: Path) -> Path:
    shutil.rmtree(data)
    data.symlink_to(data)
    return data


@pytest.mark.parametrize(
    "breaking", [no_database, folder_for_store, file_for_data, file_for_logs, link_to_itself], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("arguments", EVERYWHERE, ids=" ".join)
def test_a_data_folder_that_is_none_is_named(
    arguments: list[str], breaking: Callable[[Path], Path], kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twin.cli import stages

    monkeypatch.setattr(stages, "prepare_base", lambda *_, **__: Path("base"))
    (kept / "twin.sqlite-wal").unlink(missing_ok=True)
    named = breaking(kept)
    ran = twin(*arguments, "--data", kept)
    said = ran.out + ran.err
    assert ran.code == 1
    assert "Unexpected" not in said
    assert "Traceback" not in said
    assert str(named) in said.replace("\n", "")


NUMBERS = [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST]
NUMBERS += [errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO]


@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
@pytest.mark.parametrize("where", ["open", "mkdir"])
def test_an_error_of_the_system_names_its_file_and_a_mend(number: int, where: str, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    if where == "open":
        monkeypatch.setattr(folder, "log_to", lambda path, **_: fail(path / "logs" / "twin.log"))
    else:
        monkeypatch.setattr(Path, "mkdir", fail)
    ran = twin("contacts", "--json", "--data", kept)
    assert (ran.code, str(kept) in ran.document["error"], bool(ran.document["mend"])) == (1, True, True)
    assert "Unexpected" not in ran.document["error"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "folder cannot be written: the disk is full"),
        (OSError(errno.EMFILE, "Too many open files", "x"), "Too many files are open"),
        (OSError(errno.EADDRINUSE, "Address already in use"), "Another program listens"),
        (MemoryError(), "memory of this machine"),
        (sqlite3.OperationalError("database or disk is full"), "twin.sqlite cannot grow: the disk is full"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "twin.sqlite may not be written"),
        (sqlite3.OperationalError("disk I/O error"), "the disk reports a fault"),
        (sqlite3.DatabaseError("database disk image is malformed"), "is not a usable database"),
        (ExceptionGroup("tasks", [sqlite3.OperationalError("database is locked")]), "is locked by another program"),
        (TwinError("ours"), "ours"),
    ],
)
def test_what_is_foreseen_is_said(error: Exception, words: str) -> None:
    found = foreseen(error, Path("folder"))
    assert found is not None
    assert words in str(found)


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError("x"), ConnectionResetError(errno.ECONNRESET, "x"), sqlite3.OperationalError("syntax")]
)
def test_what_nobody_could_foresee_stays_unexpected(error: Exception) -> None:
    assert foreseen(error, Path("folder")) is None
    assert foreseen(ExceptionGroup("tasks", [error, StoreError("x")]), Path("folder")) is None


FULL = """
import resource, sys
from twin.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.argv = ["twin", *sys.argv[1:]]
main()
"""


def test_a_disk_that_takes_no_more_ends_an_import_with_a_sentence_and_keeps_the_store_whole(kept: Path) -> None:
    written(Path(), chat(7, [message(i, 7, "x" * 400) for i in range(1, 999)]))
    command = [sys.executable, "-c", FULL, "import", "result.json", "--data", str(kept)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ran.returncode, "Unexpected" in ran.stderr, "Traceback" in ran.stderr) == (1, False, False)
    assert str(kept / "twin.sqlite") in ran.stderr
    assert twin("contacts", "--data", kept, "--json").document["contacts"][0]["messages"] == 6


@pytest.mark.parametrize("arguments", [["--help"], ["contacts"], ["contacts", "--json"], ["doctor"], ["contacts", "--help"]], ids=" ".join)
def test_a_reader_that_has_gone_is_no_error(arguments: list[str], kept: Path) -> None:
    command = [sys.executable, "-m", "twin", *([] if "--help" in arguments else ["--data", str(kept)]), *arguments]
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writing)
    assert ran.stderr == ""
    assert ran.returncode in (0, 1)
