"""A bot in a process of its own, to be killed: python bot_process.py DATA API_URL. Prints READY once it polls."""

import asyncio
import logging
import secrets
import sys
from pathlib import Path
from typing import Any

import naive
import structlog
from bot_scene import make_settings

from bot.app import run_bot
from twin.generator import ActiveAdapter, Generated, Sampling
from twin.store import open_store
from twin.turns import Turn


def unique() -> str:
    """Without digits: a long number would be held back on auto."""
    return "".join(secrets.choice("bcdfghjklmnpqrstvwxz") for _ in range(12))


class UniqueEngine:
    """Never says the same twice, so that a message sent twice or without approval can be told."""

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling) -> Generated:
        await asyncio.sleep(0.01)
        bubbles = [f"twin-{unique()}" for _ in range(1 + secrets.randbelow(3))]
        return Generated("\n".join(bubbles), len(bubbles), -1.0, None)

    async def use(self, adapter: ActiveAdapter | None) -> None: ...

    async def close(self) -> None: ...


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


MANY: dict[str, Any] = {
    "drafts_per_hour": 10_000,
    "drafts_per_hour_in_all": 100_000,
    "takeover_minutes": 0.02,
    "auto": {"per_hour": 10_000, "per_day": 100_000},
}


async def main(data: Path, api_url: str) -> None:
    settings = make_settings(data, api_url, burst_seconds=0.02, bubble_seconds=0.01, **MANY)
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
    )


if __name__ == "__main__":
    naive.apply()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
