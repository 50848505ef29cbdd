"""An update that ends the bot's process is set aside after three times; one that only waited while it ended is not."""

from pathlib import Path

from bot_scene import BOT, OWNER, opened
from kill_scene import Program, die_at

from twin.store import inbox

FORWARDED = {"forward_origin": {"type": "hidden_user", "date": 1, "sender_user_name": "Somebody"}}  # so it takes the inbox


def _message(number: int, text: str) -> dict[str, object]:
    chat = {"id": 300, "type": "private", "first_name": "Ada"}
    return {"message_id": number, "date": 1_700_000_000, "chat": chat, "from": chat | {"is_bot": False}, "text": text} | FORWARDED


async def test_one_that_ends_the_process_three_times_is_set_aside(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        program = Program("bot_process:main", "bot", (str(tmp_path), scene.api.base_url))
        scene.api.push_update(BOT, "message", _message(1, "hello"))
        for _ in range(3):
            await die_at(program, "update handled, not finished")
            assert [row["error"] for row in await scene.rows("inbox")] == [None]
        await scene.start()
        assert "Interrupted" in (await scene.hear("set it aside")).text
        assert [row["error"] for row in await scene.rows("inbox")] == ["Interrupted"]
        assert len([text for text in scene.seen_by(OWNER) if "set it aside" in text]) == 1


async def test_one_that_waits_through_many_starts_is_handled(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        program = Program("bot_process:main", "bot", (str(tmp_path), scene.api.base_url))
        scene.api.push_update(BOT, "message", _message(1, "hello"))
        await die_at(program, "updates kept, not acknowledged")
        for _ in range(4):
            await die_at(program, "update taken up, not begun")
        async with scene.store.connect() as connection:
            (waiting,) = await inbox.waiting(connection, limit=9)
        assert waiting.attempts == 1
        await scene.start()
        await scene.card("hello")
        await scene.idle()
        assert [row["error"] for row in await scene.rows("inbox")] == [None]
