"""Foreseeable trouble ends in a sentence that names the mend, never in "Unexpected"."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_scene import twin

from bot import schedule
from twin.errors import SettingsError


@pytest.mark.parametrize("zone", ["UTC+3", '"Europe/Berlin"', "Nowhere/City", "Europe", "../etc/passwd", "5"])
def test_a_zone_that_is_none_is_named(zone: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    schedule._zone_at.cache_clear()
    with pytest.raises(SettingsError, match="TZ="):
        schedule.local_zone()
    for command in ("run", "dataset"):
        ran = twin(command, "--data", data)
        assert (ran.code, "Unexpected" in ran.err, "Europe/Berlin" in ran.err) == (1, False, True)
    checks = {check["part"]: check for check in twin("doctor", "--json", "--data", data).document["checks"]}
    assert (checks["schedule"]["colour"], "TZ=" in checks["schedule"]["what"]) == ("red", True)
    schedule._zone_at.cache_clear()


LINES = 'TWIN_OWNER__ID=5\nTWIN_OWNER__NAME="Zoë"\n'


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "cp1252", "utf-32"])
def test_an_env_file_in_another_encoding_is_named_without_its_words(encoding: str, data: Path) -> None:
    Path(".env").write_bytes(LINES.encode(encoding))
    ran = twin("contacts", "--data", data)
    assert (ran.code, ".env" in ran.err, "UTF-8" in ran.err, "Zo" in ran.err) == (1, True, True, False)


def test_an_env_file_with_a_byte_order_mark_is_read(data: Path) -> None:
    Path(".env").write_bytes(LINES.encode("utf-8-sig"))
    assert twin("contacts", "--data", data).code == 0


@pytest.mark.parametrize("command", ["run", "doctor", "contacts", "nightly"])
@pytest.mark.parametrize("line", ["at four", "0 4 31 2 *"])
def test_a_cron_line_that_is_none_is_said_at_every_start(command: str, line: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_SCHEDULE__NIGHTLY", line)
    ran = twin(command, "--data", data)
    assert (ran.code, "TWIN_SCHEDULE__NIGHTLY" in ran.err, repr(line) in ran.err, "Unexpected" in ran.err) == (1, True, True, False)
