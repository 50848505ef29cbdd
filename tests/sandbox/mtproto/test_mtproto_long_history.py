"""A history of 50,000 messages, read to its end as the real client does it. How fast is measured by benchmarks/collect.py."""

from __future__ import annotations

import pytest
from mtproto_cast import ANNA, OWNER
from telethon import TelegramClient

from sandbox.world import World


@pytest.mark.slow
async def test_50_000_messages_are_read_in_order_and_once_each(world: World, client: TelegramClient) -> None:
    for n in range(50_000):
        world.send(*((OWNER, ANNA) if n % 2 else (ANNA, OWNER)), f"message number {n}, of ordinary length", silent=True)
    for _ in range(2):  # the second time from kept bytes
        ids = [m.id async for m in client.iter_messages("anna", reverse=True, wait_time=0)]
        assert ids == list(range(1, 50_001))
