"""`twin init` believes nothing: the token is shown to the Bot API, the account signs in, and .env is the owner's alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapter_folders import change_json
from cli_scene import answers_for, doctor, on_store, running_sandbox, sign_in_code, start_twin, twin
from small_tokenizer import CHATML, save_empty_adapter, save_small_base
from sqlalchemy.ext.asyncio import AsyncConnection

from twin.cli.folder import utc_now
from twin.settings import load_settings
from twin.store import adapters


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), "small") as found:
        yield found


@pytest.fixture
def answers(sandbox: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    values = answers_for(sandbox)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


INIT = ("init", "--non-interactive", "--accept-terms", "--json")


def test_the_account_signs_in_and_everything_else_works_with_what_is_written(
    sandbox: dict[str, Any], answers: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start_twin(*INIT, "--data", "mine", cwd=tmp_path, env=dict(os.environ))
    out, err = process.communicate(sign_in_code(sandbox) + "\n", timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out) == {"env_file": ".env", "bot": "twin_bot", "owner_id": sandbox["owner_id"], "signed_in": True}
    assert "prohibited from using, accessing or aggregating data" in " ".join(err.replace("│", " ").split())
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "mine" / "telegram.session").stat().st_mode & 0o777 == 0o600
    for name in answers:
        monkeypatch.delenv(name)

    settings = load_settings(tmp_path / ".env")
    assert settings.owner.id == sandbox["owner_id"]
    assert settings.owner.name != "the owner"
    assert settings.secret_key is not None
    assert settings.engine.api_key is not None
    assert len(settings.engine.api_key.get_secret_value()) >= 32
    collected = twin("collect", "--json")
    assert collected.code == 0, collected.err
    assert collected.document["skipped"] == {"bot": 1, "channel": 1, "group": 1}
    assert [row["messages"] > 0 for row in twin("contacts", "--json").document["contacts"]] == [True] * 3
    checks = doctor()
    assert {part: checks[part]["colour"] for part in ("owner", "bot", "session", "store")} == {
        "owner": "green",
        "bot": "green",
        "session": "green",
        "store": "grey",  # nobody has agreed yet
    }


def test_a_wrong_token_is_refused_and_nothing_is_written(
    sandbox: dict[str, Any], answers: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWIN_BOT__TOKEN", "42:another")
    ran = twin(*INIT, "--no-account")
    assert ran.code == 1
    assert ran.document["error"] == "Telegram does not know this bot token."
    assert "42:another" not in ran.out + ran.err
    assert not (tmp_path / ".env").exists()


def test_without_an_account_the_owner_is_a_number(
    sandbox: dict[str, Any], answers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = twin(*INIT, "--no-account")
    assert missing.code == 1
    assert "TWIN_OWNER__ID" in missing.document["error"]
    monkeypatch.setenv("TWIN_OWNER__ID", "100001")
    assert twin(*INIT, "--no-account").document["owner_id"] == 100001


def test_what_exists_is_kept_unless_told_otherwise(
    sandbox: dict[str, Any], answers: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWIN_OWNER__ID", "100001")
    assert twin(*INIT, "--no-account").code == 0
    first = (tmp_path / ".env").read_bytes()
    assert twin(*INIT, "--no-account").code == 1
    assert (tmp_path / ".env").read_bytes() == first
    assert twin(*INIT, "--no-account", "--overwrite").code == 0
    assert load_settings(tmp_path / ".env").secret_key is not None
    assert (tmp_path / ".env").read_bytes() == first, "the key that sealed a session is kept"


def test_the_terms_are_acknowledged_first(tmp_path: Path) -> None:
    ran = twin("init", "--non-interactive", "--json")
    assert ran.code == 1
    assert "not acknowledged" in ran.document["error"]


def test_doctor_is_1_when_something_is_red_and_says_how_to_mend_it(data: Path) -> None:
    ran = twin("doctor", "--data", data, "--json")
    assert (ran.code, ran.document["ok"]) == (1, False)
    red = {check["part"]: check for check in ran.document["checks"] if check["colour"] == "red"}
    assert {"owner", "bot"} <= set(red)
    assert all(check["mend"] for check in red.values())


def test_doctor_sees_an_engine_that_is_away(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_ENGINE__KIND", "vllm")
    monkeypatch.setenv("TWIN_ENGINE__URL", "http://127.0.0.1:9")
    found = doctor("--data", data)
    assert found["engine"]["colour"] == "red"
    assert "twin serve" in found["engine"]["mend"]


UNGUARDED = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401 if self.path.startswith("/v1") else 405 if self.path == sys.argv[1] else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): ...
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.mark.parametrize("path", ["/invocations", "/collective_rpc"])
def test_doctor_is_red_where_a_server_answers_without_the_key(data: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("TWIN_ENGINE__KIND", "vllm")
    assert doctor("--data", data)["engine key"]["what"] == "TWIN_ENGINE__API_KEY is not set."
    monkeypatch.setenv("TWIN_ENGINE__API_KEY", "canary-key")
    with subprocess.Popen([sys.executable, "-c", UNGUARDED, path], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            monkeypatch.setenv("TWIN_ENGINE__URL", f"http://127.0.0.1:{server.stdout.readline().strip()}")
            found = doctor("--data", data)["engine key"]
        finally:
            server.terminate()
    assert (found["colour"], found["what"]) == ("red", f"The server answers without the key: {path}.")
    assert "twin serve" in found["mend"]
    assert doctor("--data", data)["engine key"]["colour"] == "grey", "nobody answers, which is told of the engine"


@pytest.mark.parametrize(
    ("manifest", "thinks", "colour"),
    [
        ({}, False, "green"),  # of before there were fingerprints
        ({}, True, "red"),
        ({"rendering": {"fingerprint": "of before", "switched": False}}, False, "red"),
    ],
)
def test_doctor_says_when_the_active_adapter_wants_a_full_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: dict[str, Any], thinks: bool, colour: str
) -> None:
    base = save_small_base(tmp_path / "small")
    if thinks:
        thinking = CHATML.replace("assistant\n", "assistant\n<think>\n\n</think>\n\n")
        (base / "chat_template.jinja").write_text(thinking)
    monkeypatch.setenv("TWIN_MODEL__BASE", str(base))
    adapter = save_empty_adapter(tmp_path / "voice-1")
    change_json(adapter, "manifest.json", dataset="d", dialog_ids=[], metrics={}, **manifest)

    async def activate(connection: AsyncConnection) -> None:
        rest: dict[str, Any] = {"parent": None, "dataset_hash": "d", "metrics": {}, "dialog_ids": []}
        await adapters.add(connection, name="voice-1", path=adapter, base_model="small", **rest, at=utc_now())
        await adapters.promote(connection, "voice-1", utc_now())

    on_store(data, activate)
    check = doctor("--data", data)["adapter"]
    assert check["colour"] == colour
    if colour == "red":
        assert check["what"] == "voice-1 was trained before an upgrade that writes chats for this base model in another way."
        assert "twin train --full" in check["mend"]


def test_serve_refuses_to_start_without_a_key(data: Path) -> None:
    ran = twin("serve", "--data", data, "--json")
    assert (ran.code, ran.document["error"]) == (1, "TWIN_ENGINE__API_KEY is not set: the vLLM server answers nobody without a key.")


def test_a_key_that_no_header_can_hold_is_refused_and_not_quoted(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_ENGINE__API_KEY", "schlüssel 1")
    ran = twin("doctor", "--data", data, "--json")
    assert ran.code == 1
    assert "TWIN_ENGINE__API_KEY" in ran.document["error"]
    assert "schlüssel" not in ran.out + ran.err


def test_doctor_misses_the_session_that_the_live_way_needs(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = doctor("--data", data)
    assert found["session"]["colour"] == "grey"
    monkeypatch.setenv("TWIN_TELEGRAM__LIVE", "true")
    found = doctor("--data", data)
    assert found["session"]["colour"] == "red"
    assert "twin init" in found["session"]["mend"]
