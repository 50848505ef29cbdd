"""A collecting process to be killed: collect_worker.py DATA SERVER PEM KEY. It writes often, so that kills hit transactions."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from trainer import saving
from trainer.collect import collect
from twin.settings import load_settings
from twin.store import open_store


async def main() -> None:
    saving.WRITE_ROWS = 200
    data, server, pem, key = sys.argv[1:]
    settings = load_settings(None, data=Path(data), secret_key=key, telegram={"server": server, "server_key": Path(pem)})
    store = open_store(settings.store_path)
    await collect(store, settings)
    await store.dispose()


asyncio.run(main())
