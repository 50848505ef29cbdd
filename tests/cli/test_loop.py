"""The loop of what answers, and the garbage collector that leaves alone what stays."""

from __future__ import annotations

import asyncio
import gc

from twin.cli import loop


def test_it_runs_to_the_end_and_returns_what_came_of_it():
    async def work() -> str:
        await asyncio.sleep(0)
        return type(asyncio.get_running_loop()).__module__

    assert loop.run(work()) == "uvloop"


def test_what_is_there_when_a_process_settles_is_not_looked_through_again():
    stays = {"itself": None}
    stays["itself"] = stays
    assert any(one is stays for one in gc.get_objects())
    try:
        loop.settle()
        assert not any(one is stays for one in gc.get_objects())
    finally:
        gc.unfreeze()
    assert any(one is stays for one in gc.get_objects())
