"""A collecting process to be killed. It writes often, so that kills hit transactions, and begins an export for a thousand messages."""

from __future__ import annotations

import asyncio
from pathlib import Path

import kill_points
from forked import Say

from trainer import saving, takeout
from trainer.collect import collect
from twin.settings import load_settings
from twin.store import open_store


def main(say: Say, die_at: str, data: str, server: str, pem: str, key: str) -> None:
    """`die_at`: a point of `kill_points.COLLECTING` and which time, or ""."""
    saving.WRITE_ROWS, takeout.LARGE = 200, 1000
    if die_at:
        kill_points.arm(kill_points.COLLECTING, die_at, say)
    asyncio.run(_run(Path(data), server, Path(pem), key))


async def _run(data: Path, server: str, pem: Path, key: str) -> None:
    settings = load_settings(None, data=data, secret_key=key, telegram={"server": server, "server_key": pem})
    store = open_store(settings.store_path)
    await collect(store, settings)
    await store.dispose()
