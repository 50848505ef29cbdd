"""A bot in a process of its own, to be killed: python bot_process.py DATA API_URL. Prints READY once it polls."""

import asyncio
import logging
import secrets
import sys
from pathlib import Path

import structlog
from bot_scene import make_settings

from bot.app import run_bot
from twin.generator import ActiveAdapter, Generated, Sampling
from twin.store import open_store
from twin.turns import Turn


class UniqueEngine:
    """Never says the same twice, so that a message sent twice or without approval can be told."""

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling) -> Generated:
        await asyncio.sleep(0.01)
        bubbles = [f"twin-{secrets.token_hex(6)}" for _ in range(1 + secrets.randbelow(3))]
        return Generated("\n".join(bubbles), len(bubbles), -1.0, None)

    async def use(self, adapter: ActiveAdapter | None) -> None: ...

    async def close(self) -> None: ...


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(data: Path, api_url: str) -> None:
    settings = make_settings(data, api_url, burst_seconds=0.02, bubble_seconds=0.01, drafts_per_hour=10_000)
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
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
