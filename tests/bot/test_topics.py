"""Topics of a private chat with the bot, and formatting in what the owner types."""

from pathlib import Path
from typing import Any

import pytest
from bot_scene import ADA, BOT, OWNER, Scene, opened, until

from sandbox.world import Message

TOPIC = 77  # the message that opened it


def threads(scene: Scene, account: int) -> list[tuple[str, int | None]]:
    return [(m.text, m.thread_id) for m in scene.from_bot(account)]


async def test_a_contact_is_answered_in_the_topic_in_which_he_asked(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.queue = ["one\ntwo"]
        scene.writes("coming?", thread_id=TOPIC)
        scene.tap(await scene.card("coming?"), "Send")
        await until(lambda: threads(scene, ADA) == [("one", TOPIC), ("two", TOPIC)])
        scene.writes("and outside of it?")
        scene.tap(await scene.card("outside of it"), "Send")
        await until(lambda: threads(scene, ADA)[2:] == [("answer 2", None)])
        assert [row["reply_to_id"] for row in await scene.rows("messages") if not row["out"]] == [None, None]


async def test_what_the_owner_types_in_a_topic_is_an_edit_and_a_command_is_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("coming?")
        scene.tap(await scene.card("coming?"), "Edit")
        await scene.hear("instead?")
        await scene.idle()
        scene.world.send(OWNER, BOT, "/dance", thread_id=TOPIC)
        await scene.hear("I do not know this command")
        assert scene.seen_by(ADA) == []
        scene.world.send(OWNER, BOT, "my own words", thread_id=TOPIC)
        await until(lambda: scene.seen_by(ADA) == ["my own words"])


async def test_talk_in_a_topic_is_answered_there(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.world.send(OWNER, BOT, "what would I say?", thread_id=TOPIC)
        await until(lambda: ("answer 1", TOPIC) in threads(scene, OWNER))


async def _edits(scene: Scene, text: str, **entity: Any) -> Message:
    scene.writes("coming?")
    scene.tap(await scene.card("coming?"), "Edit")
    await scene.hear("instead?")
    await scene.idle()
    return scene.world.send(OWNER, BOT, text, entities=[{"offset": 0, "length": 4, **entity}])


@pytest.mark.parametrize(
    "entity",
    [
        {"type": "text_link", "url": "https://example.org/secret"},
        {"type": "text_mention", "user": {"id": ADA, "is_bot": False, "first_name": "Ada"}},
        {"type": "spoiler"},
    ],
    ids=lambda entity: entity["type"],
)
async def test_an_edit_that_would_lose_what_it_says_is_not_sent_and_stays_open(tmp_path: Path, entity: dict[str, Any]) -> None:
    async with opened(tmp_path) as scene:
        await _edits(scene, "here it is", **entity)
        await scene.hear("I can send plain text only")
        await scene.idle()
        assert scene.seen_by(ADA) == []
        scene.says("https://example.org/open")
        await until(lambda: scene.seen_by(ADA) == ["https://example.org/open"])


async def test_an_edit_in_bold_goes_as_plain_text_and_that_is_said(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await _edits(scene, "here it is", type="bold")
        await until(lambda: scene.seen_by(ADA) == ["here it is"])
        await scene.hear("It goes as plain text")


async def test_what_telegram_marks_by_itself_is_no_formatting(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await _edits(scene, "https://example.org #today @ada +49 170 1234567", type="url")
        await until(lambda: len(scene.seen_by(ADA)) == 1)
        await scene.idle()
        assert not any("plain text" in text for text in scene.seen_by(OWNER))
