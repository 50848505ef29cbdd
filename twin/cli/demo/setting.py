"""Where the demo happens: its data folder, and settings that point at the sandbox. Settings of a real twin play no part."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from twin.cli.demo.sandbox import Sandbox
from twin.cli.dotenv import write_env
from twin.cli.logs import log_to
from twin.errors import InputError
from twin.reading import read_object
from twin.sealing import new_api_key, new_secret_key
from twin.settings import NOT_SETTINGS, Settings, load_settings

MARK = "demo.json"  # a folder that has it is a demo's and may be changed by the next one


def cache_path() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "telegram-twin"


def prepare_folder(data: Path | None, *, owner: int, world: str, fresh: bool) -> Path:
    """The demo's folder. What is sealed in it stays; the store goes, because a new sandbox is a new Telegram. That one has the same
    messages at the same times (`ended_at`), so that what was learned from them is found again.

    Raises InputError for a folder that is not a demo's, or another owner's.
    """
    folder = (data or cache_path() / f"demo-{world if world in ('chitchat', 'small') else 'world'}-{owner}").resolve()
    mark = folder / MARK
    about = {"owner": owner, "world": world}
    kept: dict[str, object] = {}
    if folder.exists() and any(folder.iterdir()):
        if not mark.exists():
            raise InputError(f"{folder} is not empty and no earlier demo's.", mend="Name another folder with --data.")
        kept = {} if fresh else read_object(mark, mend="Start anew with --fresh, or name another folder with --data.")
        if kept and {name: kept.get(name) for name in about} != about:
            raise InputError(
                f"{folder} holds the demo of another owner.", mend="Start anew with --fresh, or name another folder with --data."
            )
    if fresh:
        for name in ("adapters", "datasets", "evaluations", "logs", "runs"):
            shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for leftover in (*folder.glob("twin.sqlite*"), *folder.glob("*/telegram.session"), folder / "telegram.session"):
        leftover.unlink(missing_ok=True)
    mark.write_text(json.dumps({"ended_at": int(time.time()) - 3600, **kept, **about}), encoding="utf-8")
    log_to(folder)
    return folder


def ended_at(folder: Path) -> int:
    """Unix time of the last message in this folder's Telegram."""
    return int(read_object(folder / MARK, mend="Start anew with --fresh.")["ended_at"])


def isolate(folder: Path) -> None:
    """Let no setting of a real twin reach the demo: not from the environment, and children start in the demo's folder."""
    for name in [name for name in os.environ if name.startswith("TWIN_") and name not in NOT_SETTINGS]:
        del os.environ[name]
    os.environ.setdefault("TWIN_MODELS", str(cache_path() / "models"))
    os.chdir(folder)


def settings_for(
    sandbox: Sandbox, folder: Path, *, engine: str, minutes: float, owner_name: str, engine_url: str | None = None
) -> Settings:
    """Write `folder`/.env and read it: whoever goes there can use every other command on the demo."""
    key_file = folder / "sandbox.pem"
    key_file.write_text(sandbox.public_key, encoding="ascii")
    kept = load_settings(folder / ".env") if (folder / ".env").exists() else None
    secret = kept.secret_key if kept else None  # what the demo before sealed can still be opened
    api_key = kept.engine.api_key if kept else None  # the server may be running
    values = {
        "TWIN_DATA": folder,
        "TWIN_SECRET_KEY": secret.get_secret_value() if secret else new_secret_key(),
        "TWIN_OWNER__ID": sandbox.owner_id,
        "TWIN_OWNER__NAME": owner_name,
        "TWIN_BOT__TOKEN": sandbox.bot_token,
        "TWIN_BOT__API_URL": sandbox.bot_api,
        "TWIN_TELEGRAM__PHONE": sandbox.owner_phone,
        "TWIN_TELEGRAM__SERVER": sandbox.server,
        "TWIN_TELEGRAM__SERVER_KEY": key_file,
        "TWIN_ENGINE__KIND": engine,
        "TWIN_ENGINE__API_KEY": api_key.get_secret_value() if api_key else new_api_key(),
        "TWIN_TRAINING__MINUTES": minutes,
        # A model of 135M and a few minutes want larger and more frequent steps than the defaults, which are meant for 8B:
        # at 65,000 tokens of owner 2 the training loss was 3.58 with 1e-3, 3.64 with 4e-4.
        "TWIN_TRAINING__LEARNING_RATE": 1e-3,
        "TWIN_TRAINING__BATCH_TOKENS": 2048,
        # On a laptop's processor a token takes 0.05 to 0.2 s, and hardly one reply of these people has more.
        "TWIN_ENGINE__MAX_NEW_TOKENS": 40,
        # Who tries `auto` here does not want to wait as long as the owner lets his friends wait, nor until the morning.
        "TWIN_TEMPO__LONGEST_SECONDS": 8,
        "TWIN_AUTO__QUIET_HOURS": "never",
    }
    write_env(folder / ".env", values | ({"TWIN_ENGINE__URL": engine_url} if engine_url else {}), heading="Made by `twin demo`.")
    return load_settings(folder / ".env")


def as_contact(settings: Settings, phone: str) -> Settings:
    """The same Telegram seen by a contact, with a session of its own."""
    telegram = settings.telegram.model_copy(update={"phone": phone})
    return settings.model_copy(update={"telegram": telegram, "data": settings.data / "contact"})
