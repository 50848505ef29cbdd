"""A bot in a process of its own, to be killed. Says READY once it polls."""

import asyncio
import itertools
import logging
import secrets
from pathlib import Path
from typing import Any

import kill_points
import naive
import structlog
from bot_scene import make_settings
from forked import Say

from bot.app import run_bot
from twin import sending
from twin.generator import ActiveAdapter, Generated, Sampling
from twin.store import open_store
from twin.turns import Turn


def unique() -> str:
    """Without digits: a long number would be held back on auto."""
    return "".join(secrets.choice("bcdfghjklmnpqrstvwxz") for _ in range(12))


class UniqueEngine:
    """Never says the same twice, so that a message sent twice or without approval can be told. Two bubbles, three, one, two ..."""

    def __init__(self) -> None:
        self._counts = itertools.cycle((2, 3, 1))

    async def generate(self, turns: tuple[Turn, ...], sampling: Sampling) -> Generated:
        await asyncio.sleep(0.01)
        bubbles = [f"twin-{unique()}" for _ in range(next(self._counts))]
        return Generated("\n".join(bubbles), len(bubbles), -1.0, None)

    async def use(self, adapter: ActiveAdapter | None) -> None: ...

    async def close(self) -> None: ...


MANY: dict[str, Any] = {
    "drafts_per_hour": 10_000,
    "drafts_per_hour_in_all": 100_000,
    "takeover_minutes": 0.02,
    "auto": {"per_hour": 10_000, "per_day": 100_000},
}


def prepare(say: Say, variant: str, way: str, die_at: str) -> None:
    """Make this process the bot that is wanted. `die_at`: a point of `kill_points` for this way and which time, or ""."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    if variant:
        naive.apply(variant)
    if die_at:
        kill_points.arm(kill_points.WAYS[way], die_at, say)


def main(say: Say, way: str, variant: str, die_at: str, data: str, api_url: str, echo_seconds: float = sending.ECHO_SECONDS) -> None:
    """`echo_seconds` may be short where no request can arrive after its bot has died."""
    prepare(say, variant, way, die_at)
    sending.ECHO_SECONDS = echo_seconds
    asyncio.run(_run(say, Path(data), api_url))


async def _run(say: Say, data: Path, api_url: str) -> None:
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
