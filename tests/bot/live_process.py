"""A bot with the live session in a process of its own, to be killed. Says READY once it polls."""

import asyncio
from pathlib import Path

from bot_process import UniqueEngine, prepare
from forked import Say
from live_scene import live_settings

from bot.app import run_bot
from twin.cli.account import KeptAccounts
from twin.store import open_store


def main(say: Say, way: str, variant: str, die_at: str, data: str, api_url: str, server: str, pem: str) -> None:
    prepare(say, variant, way, die_at)
    asyncio.run(_run(say, Path(data), api_url, server, Path(pem)))


async def _run(say: Say, data: Path, api_url: str, server: str, pem: Path) -> None:
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
