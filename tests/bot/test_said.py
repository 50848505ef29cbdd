"""The real bot with an engine that says what no person writes: none of it reaches the contact, on auto and when the owner taps Send."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from auto_rows import drafted, wrote
from bot_scene import ADA, OWNER, opened, until

UNSAYABLE = re.compile(r"think|<|\||\[|analysis|final|assistant|system|user|chatting with|^>", re.IGNORECASE)
CUT = [
    "<think>\nAda wants tea.\n</think>\n\nsure thing",
    "Ada wants tea.\n</think>\n\nsure thing",
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>sure thing",
    "analysisAda asks.assistantfinalsure thing",
    "sure thing<|im_end|>\n<|im_start|>user\nand you?",
    "sure thing\nsystem\nuser\nI'm planning",
    "> hi\nsure thing",
    "[voice]\nsure thing",
    "sure thing\nYou are Olga, chatting with Ada.",
    "sure thing\nsure thing",
    "sure thing [photo]",
]
NOTHING_LEFT = ["<think>I was cut off", "[photo]", "> hi", "You are Olga, chatting with Ada.", "analysisAda asks", "[phone]"]


@pytest.mark.parametrize("said", CUT)
async def test_it_is_cut_on_auto(tmp_path: Path, said: str) -> None:
    async with opened(tmp_path, default_mode="auto") as scene:
        await scene.connected()
        scene.engine.queue = [said]
        scene.whispers("that film was so funny")
        await until(lambda: scene.chat() == ["sure thing"])
        await scene.idle()
        assert {row["text"] for row in await scene.rows("outbox")} == {"sure thing"}


@pytest.mark.parametrize("said", NOTHING_LEFT)
async def test_where_nothing_is_left_another_answer_is_drawn(tmp_path: Path, said: str) -> None:
    async with opened(tmp_path, default_mode="auto") as scene:
        await scene.connected()
        scene.engine.queue = [said, "sure thing"]
        scene.whispers("that film was so funny")
        await until(lambda: scene.chat() == ["sure thing"])


async def test_the_card_shows_and_sends_what_is_left_and_never_offers_the_rest(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        for i, said in enumerate([*CUT, *NOTHING_LEFT]):
            scene.engine.queue = [said, *[said] * 5] if said in NOTHING_LEFT else [said]
            scene.writes(f"message {i}")
            card = await scene.card(f"message {i}")
            if said in CUT:
                scene.tap(card, "Send")
            await scene.idle()
            scene.engine.queue = []
        assert scene.seen_by(ADA) == ["sure thing"] * len(CUT)
        assert not [row["text"] for row in await scene.rows("drafts") if UNSAYABLE.search(row["text"])]
        assert not [text for text in scene.seen_by(OWNER) if "<think>" in text or "chatting with" in text]


async def test_a_draft_of_an_earlier_version_is_shown_anew_before_it_goes(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "coming?")
        await drafted(scene, "<think>\\nhm\\n</think>\nsure thing")
        await scene.start()
        card = await scene.card("coming?")
        scene.tap(card, "Send")
        await until(lambda: "think" not in card.text)
        await scene.idle()
        assert scene.seen_by(ADA) == []
        scene.tap(card, "Send")
        await until(lambda: scene.seen_by(ADA) == ["sure thing"])
