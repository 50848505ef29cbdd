"""Settings: one frozen tree, every key known and explained, typos refused, secrets not shown."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from twin.errors import SettingsError
from twin.settings import load_settings, setting_names

EXAMPLE = Path(__file__).parents[2] / ".env.example"
SECRETS = {
    "TWIN_SECRET_KEY": "c2VjcmV0LWNhbmFyeS1vZi10aGlydHktdHdvLWJ5dGVz",
    "TWIN_BOT__TOKEN": "42:canary-token",
    "TWIN_TELEGRAM__API_HASH": "canaryhash",
    "TWIN_ENGINE__API_KEY": "canary-key",
}


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch, tmp_path):
    """Neither the environment's nor a .env of the folder that the tests run in."""
    for name in [name for name in os.environ if name.startswith("TWIN_") and name != "TWIN_MODELS"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def example_lines() -> list[tuple[str, str]]:
    return re.findall(r"^#?(TWIN_\w+)=(.*)$", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_example_names_every_key_once_and_nothing_else():
    assert [name for name, _ in example_lines()] == setting_names()


def test_every_key_of_the_example_has_a_comment_above_it_or_above_its_pair():
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    is_key = [bool(re.match(r"#?TWIN_\w+=", line)) for line in lines]
    for place, line in enumerate(lines):
        if is_key[place]:
            above = next(lines[i] for i in range(place - 1, -1, -1) if not is_key[i])
            assert re.match(r"# [A-Z0-9`\w]", above), line


def test_the_example_shows_the_defaults():
    filled = "\n".join(f"{name}={value}" for name, value in example_lines())
    Path("filled.env").write_text(filled, encoding="utf-8")
    assert load_settings(Path("filled.env")) == load_settings(None)
    unset = {name for name, value in example_lines() if not value}
    assert unset == {name for name in setting_names() if default(name) is None}


def default(name: str):
    found = load_settings(None)
    for part in name.removeprefix("TWIN_").lower().split("__"):
        found = getattr(found, part)
    return found


def test_the_environment_wins_over_the_file(monkeypatch):
    Path(".env").write_text("TWIN_ENGINE__KIND=vllm\nTWIN_OWNER__NAME=Olga\n", encoding="utf-8")
    monkeypatch.setenv("TWIN_OWNER__NAME", "Otto")
    settings = load_settings()
    assert (settings.engine.kind, settings.owner.name) == ("vllm", "Otto")


def test_overrides_win_over_both(monkeypatch):
    monkeypatch.setenv("TWIN_DATA", "elsewhere")
    assert load_settings(None, data=Path("here")).store_path == Path("here/twin.sqlite")


@pytest.mark.parametrize("name", ["TWIN_OWNER__IDD", "TWIN_OWNR__ID", "TWIN_TOKEN", "TWIN_OWNER__ID__X"])
def test_an_unknown_key_is_refused_in_the_environment_and_in_the_file(monkeypatch, name):
    Path(".env").write_text(f"{name}=1\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="TWIN_"):
        load_settings()
    Path(".env").unlink()
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"{name}.*example"):
        load_settings()


def test_unknown_keys_of_code_are_refused_in_every_group():
    for group in ("owner", "bot", "telegram", "model", "dataset", "training", "engine", "schedule"):
        with pytest.raises(SettingsError, match=f"TWIN_{group.upper()}__TYPO"):
            load_settings(None, **{group: {"typo": 1}})
    with pytest.raises(SettingsError, match="TWIN_TYPO"):
        load_settings(None, typo=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWIN_OWNER__ID", "olga"),
        ("TWIN_BOT__DEFAULT_MODE", "always"),
        ("TWIN_DATASET__HOLDOUT_FRACTION", "0.9"),
        ("TWIN_ENGINE__TOP_P", "0"),
        ("TWIN_TRAINING__QUANTIZATION", "int4"),
    ],
)
def test_a_wrong_value_names_its_key_as_the_file_spells_it(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}: .*[.]env"):
        load_settings(None)


def test_several_problems_are_told_at_once(monkeypatch):
    monkeypatch.setenv("TWIN_OWNER__ID", "olga")
    monkeypatch.setenv("TWIN_ENGINE__KIND", "cloud")
    with pytest.raises(SettingsError, match=r"TWIN_OWNER__ID.*TWIN_ENGINE__KIND"):
        load_settings(None)


def test_a_group_given_as_text_is_a_settings_error(monkeypatch):
    monkeypatch.setenv("TWIN_OWNER", "olga")
    with pytest.raises(SettingsError):
        load_settings(None)


def test_settings_are_frozen_to_the_leaves():
    settings = load_settings(None)
    with pytest.raises(ValidationError):
        settings.data = Path("x")
    with pytest.raises(ValidationError):
        settings.owner.id = 5


def test_secrets_are_in_no_repr_no_dump_and_no_error(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(None)
    shown = f"{settings!r} {settings} {settings.bot!r} {settings.model_dump()} {settings.model_dump_json()}"
    assert [value for value in SECRETS.values() if value in shown] == []
    assert settings.bot.token.get_secret_value() == SECRETS["TWIN_BOT__TOKEN"]
    monkeypatch.setenv("TWIN_OWNER__ID", "olga")
    with pytest.raises(SettingsError) as caught:
        load_settings(None)
    assert [value for value in SECRETS.values() if value in str(caught.value)] == []


def test_an_empty_value_means_not_set(monkeypatch):
    monkeypatch.setenv("TWIN_OWNER__ID", "")
    monkeypatch.setenv("TWIN_TELEGRAM__SERVER", "")
    settings = load_settings(None)
    assert (settings.owner.id, settings.telegram.server) == (None, None)


BAD_LINES = (
    "at four",
    "0 4 * *",
    "0 4 * * * *",
    "60 4 * * *",
    "0 24 * * *",
    "0 4 30 2 *",
    "0 4 31 2,4,6 *",
    "0 4 * * 8",
    "0 4 * * 6-2",
)


@pytest.mark.parametrize("line", [*BAD_LINES, "@daily", "0 4 * * */0", "*/0 4 * * *", "0 4 32 * *", "\x1b[31m"])
def test_a_line_that_the_scheduler_would_refuse_is_refused(monkeypatch, line):
    monkeypatch.setenv("TWIN_SCHEDULE__NIGHTLY", line)
    with pytest.raises(SettingsError, match=r"TWIN_SCHEDULE__NIGHTLY (is no cron line|never comes): '.*\(write for example") as caught:
        load_settings(None)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("line", ["0 4 * * 0-6", "0 4 * * 7", "30 2 */2 * *", "0 4 * * */2", "0 4 31 2 1", "0 4 * jan-mar fri"])
def test_a_line_of_crontab_is_taken(monkeypatch, line):
    monkeypatch.setenv("TWIN_SCHEDULE__NIGHTLY", line)
    assert load_settings(None).schedule.nightly == line
