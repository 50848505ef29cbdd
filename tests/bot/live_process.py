"""A bot with the live session in a process of its own, to be killed: python live_process.py DATA API_URL SERVER PEM. Prints READY."""

import asyncio
import logging
import sys
from pathlib import Path

import naive
import structlog
from bot_process import UniqueEngine, say
from live_scene import live_settings

from bot.app import run_bot
from twin.cli.account import KeptAccounts
from twin.store import open_store


async def main(data: Path, api_url: str, server: str, pem: Path) -> None:
    quick = {"burst_seconds": 0.02, "bubble_seconds": 0.01, "drafts_per_hour": 10_000, "takeover_minutes": 0}
    settings = live_settings(data, api_url, server, pem, 10.0, **quick)
    store = open_store(settings.store_path)

    async def nothing(*_: object) -> str:
        return "done"

    await run_bot(
        settings,
        store,
        UniqueEngine(),
        retrain=nothing,
        rollback=nothing,
        promote=nothing,
        is_training=lambda: False,
        on_ready=lambda _: say("READY"),
        accounts=KeptAccounts(store, settings),
    )


if __name__ == "__main__":
    naive.apply()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])))
