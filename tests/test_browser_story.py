"""The product's main job as a newcomer sees it: the real bot and the real model, the sandbox as a process, a real browser.

Somebody types on the contact's phone, a card comes to the owner's, Send is pressed, the bubbles arrive. Screenshots go to
SCREENSHOTS or tmp_path.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import async_playwright, expect

from bot.app import run_bot
from inference.local import LocalGenerator
from trainer.base_model import SAMPLE, prepare_base_model
from twin.settings import Bot, Owner, load_settings
from twin.store import open_store
from twin.turns import split_bubbles

pytestmark = pytest.mark.slow
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
OPENING = "hey, what are you up to tonight?"


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    """The small world as a process of its own; what it says when its doors are open."""
    ready = tmp_path / "ready.json"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox", "--world", "small", "--ready-file", str(ready), "--with-parent", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            while not ready.exists():
                assert child.returncode is None, f"the sandbox ended with {child.returncode}"
                await asyncio.sleep(0.05)
        yield json.loads(ready.read_text(encoding="utf-8"))
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


async def test_a_message_becomes_a_card_and_one_tap_brings_the_bubbles(sandbox: dict[str, Any], tmp_path: Path) -> None:
    """What arrives on the contact's phone is what stood on the card, bubble by bubble, and nothing arrives before the tap."""
    base = prepare_base_model(SAMPLE, Path(os.environ.get("TWIN_MODELS") or tmp_path / "models"))
    settings = load_settings(
        None,
        data=tmp_path / "data",
        owner=Owner(id=sandbox["owner_id"], name="Robin"),
        bot=Bot(token=sandbox["bot_token"], api_url=sandbox["bot_api"], burst_seconds=0.3, bubble_seconds=0.1),
    )
    shots = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    store = open_store(settings.store_path)
    generator = LocalGenerator(base, seconds=120, max_prompt_tokens=256)
    ready = asyncio.Event()

    async def nothing(*_: Any) -> str:
        return ""

    bot = asyncio.create_task(
        run_bot(
            settings,
            store,
            generator,
            retrain=nothing,
            rollback=nothing,
            promote=nothing,
            is_training=lambda: False,
            on_ready=lambda _: ready.set(),
        ),
        name="the bot",
    )
    try:
        await asyncio.wait_for(ready.wait(), 60)
        async with async_playwright() as playwright, httpx.AsyncClient(base_url=sandbox["page"], trust_env=False) as api:
            browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=SWITCHES)
            page = await browser.new_page(viewport={"width": 1280, "height": 860})
            await page.goto(sandbox["page"])
            await expect(page.get_by_test_id("link-state")).to_have_text("live")
            contact, owner = page.get_by_test_id("phone-contact"), page.get_by_test_id("phone-owner")
            await contact.get_by_test_id("composer-input").fill(OPENING)
            await contact.get_by_test_id("composer-input").press("Enter")

            send = owner.get_by_test_id("inline-button").filter(has_text="Send")
            another = owner.get_by_test_id("inline-button").filter(has_text="Another")
            await expect(send.or_(another).first).to_be_visible(timeout=120_000)
            if not await send.count():  # the model found no words: that is a card too, and the owner asks again
                await another.click()
                await expect(send).to_be_visible(timeout=120_000)
            await page.screenshot(path=shots / "story-card.png", animations="disabled")
            who = sandbox["contact_ids"][0]
            chat = f"/api/chats/{who}/{sandbox['bot_id']}"
            before = (await api.get(chat)).json()["messages"]
            assert [m["text"] for m in before if m["from"] == sandbox["bot_id"]] == []

            await send.click()
            await expect(owner.get_by_test_id("message").last).to_contain_text("Sent", timeout=30_000)
            async with store.connect() as connection:
                from twin.store import drafts

                draft = await drafts.newest(connection, "bot", who)
            assert draft is not None
            bubbles = split_bubbles(draft.text)
            arrived = contact.locator('[data-testid="message"][data-out="false"] [data-testid="message-text"]')
            await expect(arrived).to_have_count(len(bubbles), timeout=30_000)
            await expect(arrived).to_contain_text(bubbles)  # each also shows its time
            await page.screenshot(path=shots / "story-sent.png", animations="disabled")
            await browser.close()
    finally:
        bot.cancel()
        await asyncio.gather(bot, return_exceptions=True)
        await generator.close()
        await store.dispose()
