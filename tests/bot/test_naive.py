"""Scenarios in which a simpler bot (`naive`) must double or lose something, by construction. The real one goes through the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from bot_scene import ADA, BOT, OWNER, Scene, opened, until
from kill_scene import Program, alive, drain
from live_scene import LiveScene, live

from sandbox.world import Message

LOST_ANSWER = "answered, not written"


async def _sent_once_or_twice(scene: Scene, program: Program, side: int, contact: int) -> set[int]:
    """The owner approves a draft of two bubbles, and the bot dies when the first one has arrived and before it has written so. How often
    each bubble is in the chat in the end."""

    def settle(question: Message) -> None:
        scene.tap(question, "It arrived")  # as it did

    async with alive(program, LOST_ANSWER) as child:
        scene.tap(await scene.card("hello"), "Send")
        await child.died_at(LOST_ANSWER)
    async with alive(program):
        await drain(scene, settle, scene.is_idle)
    assert await scene.states() == ["sent", "sent"]
    delivered = Counter(m.text for m in scene.world.history(side, contact) if m.sender_id == side)
    assert delivered.keys() == {row["text"] for row in await scene.rows("outbox")}
    return set(delivered.values())


@pytest.mark.parametrize(("variant", "times"), [("", {1}), ("resend", {1, 2})])
async def test_a_bot_that_resends_what_it_has_no_answer_for_doubles_it(tmp_path: Path, variant: str, times: set[int]) -> None:
    async with opened(tmp_path, started=False) as scene:
        program = Program("bot_process:main", "bot", (str(tmp_path), scene.api.base_url), variant)
        scene.writes("hello")
        assert await _sent_once_or_twice(scene, program, BOT, ADA) == times


@pytest.mark.parametrize(("variant", "times"), [("", {1}), ("resend", {1, 2})])
async def test_a_bot_that_resends_doubles_it_in_the_owners_chat_too(tmp_path: Path, variant: str, times: set[int]) -> None:
    """The real bot sees the echo."""
    async with opened(tmp_path, started=False) as scene:
        program = Program("bot_process:main", "business", (str(tmp_path), scene.api.base_url), variant)
        scene.connects()
        scene.whispers("hello")
        assert await _sent_once_or_twice(scene, program, OWNER, ADA) == times


@pytest.mark.parametrize(("variant", "times"), [("", {1}), ("fresh_ids", {1, 2})])
async def test_a_session_that_draws_a_new_random_id_for_each_try_doubles_it(tmp_path: Path, variant: str, times: set[int]) -> None:
    async with live(tmp_path, started=False) as scene:
        program = _live_program(scene, tmp_path, variant)
        async with alive(program):  # the first start: what was before is left alone
            await scene.connected()
        scene.contact_writes("hello")
        assert await _sent_once_or_twice(scene, program, OWNER, ADA) == times


def _live_program(scene: LiveScene, path: Path, variant: str) -> Program:
    telegram = scene.settings.telegram
    arguments = str(path), scene.api.base_url, str(telegram.server), str(telegram.server_key)
    return Program("live_process:main", "session", arguments, variant)


@pytest.mark.parametrize(("variant", "kept"), [("", ["first", "second"]), ("forgetful", ["second"])])
async def test_a_bot_that_acknowledges_before_it_keeps_loses_a_message(tmp_path: Path, variant: str, kept: list[str]) -> None:
    """It is killed in the instant after Telegram has forgotten the message."""
    async with opened(tmp_path, started=False) as scene:
        arguments = str(tmp_path), scene.api.base_url
        async with alive(Program("bot_process:main", "bot", arguments, variant)) as child:
            await until(lambda: not len(scene.api.door.inbox(BOT)))
            scene.writes("first")
            await until(lambda: not len(scene.api.door.inbox(BOT)))
            child.kill()
            assert await child.wait() == -9
        scene.writes("second")
        async with alive(Program("bot_process:main", "bot", arguments)):
            await scene.card("second")
        assert [row["text"] for row in await scene.rows("messages") if not row["out"]] == kept
