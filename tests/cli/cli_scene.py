"""The command line in this process or in one of its own, and a data folder with invented people in it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from factories import exchanges
from sqlalchemy.ext.asyncio import AsyncConnection
from typer.testing import CliRunner

from twin.cli import app
from twin.store import adapters, dialogs, messages, open_store
from twin.turns import Message

AT = datetime(2025, 5, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


def twin(*arguments: object, stdin: str | None = None) -> Ran:
    """`twin ARGUMENTS` in this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, prog_name="twin")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


def doctor(*arguments: object) -> dict[str, dict[str, str]]:
    """What `twin doctor` finds, by the part that it looks at."""
    return {check["part"]: check for check in twin("doctor", "--json", *arguments).document["checks"]}


def start_twin(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """`twin ARGUMENTS` in a process of its own, which ignores SIGINT at its start as the background job of a script does."""
    command = [sys.executable, "-m", "twin", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True, preexec_fn=_ignore_sigint, **options
    )


def _ignore_sigint() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


WITHOUT_TORCH = """
from importlib.machinery import PathFinder

_find = PathFinder.find_spec

def _find_others(name, path=None, target=None):
    return None if name.split(".")[0] in ("torch", "peft", "accelerate", "bitsandbytes", "vllm") else _find(name, path, target)

PathFinder.find_spec = staticmethod(_find_others)
"""


def without_torch(folder: Path) -> dict[str, str]:
    """An environment for Python processes in which it is not installed, nor what needs it."""
    hooks = folder / "without-torch"
    hooks.mkdir()
    audit = Path(__file__).parent.parent / "egress" / "sitecustomize.py"  # one module of this name is found, so it is both
    (hooks / "sitecustomize.py").write_text(audit.read_text() + WITHOUT_TORCH)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(hooks), *filter(None, [os.environ.get("PYTHONPATH")])])}


@contextmanager
def running_sandbox(folder: Path, world: object) -> Iterator[dict[str, Any]]:
    """A sandbox in a process of its own; what its ready file says, and the files that settings name."""
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "sandbox", "--world", str(world), "--ready-file", str(ready), "--with-parent"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        found = json.loads(ready.read_text())
        (folder / "key.pem").write_text(found["mtproto"]["public_key_pem"])
        yield found | {"key_file": str(folder / "key.pem"), "server": f"127.0.0.1:{found['mtproto']['port']}"}
    finally:
        process.terminate()
        process.wait(10)


def answers_for(sandbox: dict[str, Any]) -> dict[str, str]:
    """What `twin init --non-interactive` needs, in the environment."""
    return {
        "TWIN_BOT__TOKEN": sandbox["bot_token"],
        "TWIN_BOT__API_URL": sandbox["bot_api"],
        "TWIN_TELEGRAM__SERVER": sandbox["server"],
        "TWIN_TELEGRAM__SERVER_KEY": sandbox["key_file"],
        "TWIN_TELEGRAM__PHONE": sandbox["owner_phone"],
    }


def sign_in_code(sandbox: dict[str, Any]) -> str:
    """What the owner's phone shows, once the code was sent."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        response = httpx.get(f"{sandbox['page']}/api/login_code", params={"phone": sandbox["owner_phone"]}, timeout=10)
        if response.status_code == httpx.codes.OK:
            return str(response.json()["code"])
        time.sleep(0.1)
    raise AssertionError("no code was sent")


def on_store(data: Path, work: Callable[[AsyncConnection], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        store = open_store(data / "twin.sqlite")
        try:
            async with store.begin() as connection:
                return await work(connection)
        finally:
            await store.dispose()

    return asyncio.run(run())


def keep_contact(data: Path, dialog_id: int, name: str, rows: Sequence[Message] = (), *, consent: bool = False) -> None:
    async def work(connection: AsyncConnection) -> None:
        await dialogs.save(connection, dialog_id, name=name, username=name.split()[0].lower())
        await messages.save(connection, rows or exchanges(3, dialog_id=dialog_id))
        if consent:
            await dialogs.record_consent(connection, dialog_id, "given", AT, "yes")

    on_store(data, work)


def keep_adapter(data: Path, name: str, *, dialog_ids: Sequence[int] = (), base: str = "example/tiny", sealed: bool = True) -> Path:
    """A candidate with a folder that looks like one."""
    folder = data / "adapters" / name
    folder.mkdir(parents=True)
    manifest = {"base": {"name": base}, "dataset": "d" * 16, "dialog_ids": list(dialog_ids), "metrics": {}}
    if sealed:
        (folder / "manifest.json").write_text(json.dumps(manifest))

    async def work(connection: AsyncConnection) -> None:
        figures = {"loss": 3.5, "context_choice": 0.8, "distinct": 0.9}
        holdout = {"base": figures | {"loss": 4.0}, "adapter": figures}
        await adapters.add(
            connection,
            name=name,
            path=folder,
            base_model=base,
            parent=None,
            dataset_hash="d" * 16,
            metrics={"holdout": holdout},
            dialog_ids=dialog_ids,
            at=AT,
        )

    on_store(data, work)
    return folder
