"""Plain words of a contact need no inbox: what is plain, and that the short way in keeps what the long one does."""

from pathlib import Path
from typing import Any

import pytest
from aiogram.types import Update
from bot_scene import ADA, BOT, OWNER, Scene, opened, until
from structlog.testing import capture_logs

from bot.context import utc_now
from bot.guard import sender_in_private
from bot.handlers import business
from bot.handlers.contacts import IS_COMMAND
from bot.incoming import full_name, to_account_message, to_message
from bot.plain import plain, take_in
from twin import replies
from twin.store import connections, inbox

NAMES: list[dict[str, Any]] = [
    {"first_name": "Ada"},
    {"first_name": "Ada", "last_name": "Lovelace", "username": "ada"},
    {"first_name": " ", "username": "ada"},
    {"first_name": ""},
    {"first_name": "עדה", "last_name": "👩‍💻 "},
]
TEXTS = ["hello", "two\nlines", "  spaces ", "👩‍💻 مرحبا", "1", "not / a command", "a@b.c"]


def words(text: str = "hello", *, message_id: int = 5, who: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    person = {"id": ADA, **(who or {"first_name": "Ada"})}
    chat = {"type": "private", **person}
    return {"message_id": message_id, "date": 1_700_000_000, "from": {"is_bot": False, **person}, "chat": chat, "text": text, **more}


def update(message: dict[str, Any], kind: str = "message", update_id: int = 1) -> dict[str, Any]:
    return {"update_id": update_id, kind: message}


# --- what is plain ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", NAMES)
@pytest.mark.parametrize("text", TEXTS)
def test_the_short_way_reads_what_the_handler_reads(who: dict[str, Any], text: str) -> None:
    raw = update(words(text, who=who, entities=[{"type": "bold", "offset": 0, "length": 1}], link_preview_options={"is_disabled": True}))
    found, long_way = plain(raw, OWNER), Update.model_validate(raw).message
    assert found
    assert long_way
    assert long_way.from_user
    assert found.said == to_message(long_way)
    assert (found.name, found.username, found.connection_id) == (full_name(long_way.from_user), who.get("username"), None)
    assert sender_in_private(long_way) == long_way.from_user
    assert not IS_COMMAND.resolve(long_way)


@pytest.mark.parametrize("who", NAMES)
@pytest.mark.parametrize("text", [*TEXTS, "/start"])
def test_and_what_the_handler_of_a_connection_reads(who: dict[str, Any], text: str) -> None:
    raw = update(words(text, who=who, business_connection_id="c"), "business_message")
    found, long_way = plain(raw, OWNER), Update.model_validate(raw).business_message
    assert found
    assert long_way
    assert found.said == to_account_message(long_way, OWNER)
    assert (found.name, found.username) == business._contact(long_way)
    assert found.connection_id == "c"


SOMEBODY = {"id": 999, "is_bot": False, "first_name": "Somebody"}


@pytest.mark.parametrize(
    "raw",
    [
        update(words("/start")),
        update(words("/privacy now")),
        update(words(" /privacy")),
        update(words("")),
        update(words(photo=[])),
        update(words(reply_to_message=words(message_id=4))),
        update(words(forward_origin={"type": "hidden_user", "date": 1, "sender_user_name": "x"})),
        update(words(via_bot=SOMEBODY)),
        update(words(sender_chat={"id": -100, "type": "channel", "title": "x"})),
        update(words(business_connection_id="c")),  # a field that does not belong there
        update(words(is_from_offline=True)),
        update(words(hologram={})),  # what Telegram adds tomorrow
        update(words() | {"from": {"id": ADA, "is_bot": True, "first_name": "x"}}),
        update(words() | {"from": {"id": ADA, "first_name": "x"}}),
        update(words() | {"from": SOMEBODY}),
        update(words() | {"chat": {"id": -500, "type": "group", "title": "x"}}),
        update(words(who={"id": OWNER, "first_name": "Olga"})),
        update({key: value for key, value in words().items() if key != "text"}),
        update({key: value for key, value in words().items() if key != "from"}),
        update(words(), "edited_message"),
        update(words(), "channel_post"),
        update(words()) | {"callback_query": {}},
        update(words(), "business_message"),  # of no connection
        update(words(business_connection_id=""), "business_message"),
        update(words(business_connection_id="c", sender_business_bot=SOMEBODY), "business_message"),
        update(words(business_connection_id="c", who={"id": OWNER, "first_name": "Olga"}), "business_message"),
        update(words(business_connection_id="c") | {"from": {"id": OWNER, "is_bot": False, "first_name": "Olga"}}, "business_message"),
        {"update_id": 1},
    ],
)
def test_whatever_else_goes_through_the_inbox(raw: dict[str, Any]) -> None:
    assert plain(raw, OWNER) is None


# --- the order --------------------------------------------------------------------------------------------------------


async def taken_in(scene: Scene, *updates: dict[str, Any]) -> int:
    """How many were taken in, from the front."""
    async with scene.store.begin() as connection:
        return len(updates) - len(await take_in(connection, updates, scene.twin()))


async def test_nothing_passes_what_came_before_it(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        one, two = update(words("one")), update(words("two", message_id=6), update_id=3)
        assert await taken_in(scene, one, update(words("/start"), update_id=2), two) == 1
        async with scene.store.begin() as connection:
            await inbox.keep(connection, [update(words("/start"), update_id=2)], utc_now())
        assert await taken_in(scene, two) == 0
        async with scene.store.begin() as connection:
            await inbox.finish(connection, 2, utc_now())
        assert await taken_in(scene, two) == 1
        assert [row["text"] for row in await scene.rows("messages")] == ["one", "two"]


async def test_words_that_come_twice_change_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        raw = update(words("one"))
        await taken_in(scene, raw, raw)
        once = await scene.rows("replies_due")
        await taken_in(scene, raw)
        assert await scene.rows("replies_due") == once
        assert len(await scene.rows("messages")) == 1


async def test_only_a_connection_that_is_known_to_be_the_owners_is_read(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        raw = update(words("one", business_connection_id="c"), "business_message")
        assert await taken_in(scene, raw) == 0
        assert await scene.rows("messages") == []
        async with scene.store.begin() as connection:
            await connections.save(connection, "c", is_enabled=True, rights={}, connected_at=utc_now(), at=utc_now())
        assert await taken_in(scene, raw) == 1
        assert [(row["channel"], row["source"]) for row in await scene.rows("messages")] == [("account", "business")]


async def test_a_bug_on_the_short_way_sends_the_poll_the_long_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receive, calls = replies.receive, 0

    async def fails_once(*args: Any, **more: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first message's rows are written already, and are taken back
            raise RuntimeError("hello")
        return await receive(*args, **more)

    monkeypatch.setattr(replies, "receive", fails_once)
    with capture_logs() as logs:
        async with opened(tmp_path, started=False, burst_seconds=0.3) as scene:
            scene.writes("hello")
            scene.writes("are you there?")
            await scene.start()
            card = await scene.card("are you there?")
            assert "hello\nare you there?" in card.text
            await until(lambda: not len(scene.api.door.inbox(BOT)))
            await scene.idle()
            assert [row["text"] for row in await scene.rows("messages") if not row["out"]] == ["hello", "are you there?"]
    assert [entry["error"] for entry in logs if entry["event"] == "updates.not_taken_in"] == ["RuntimeError"]
    assert "hello" not in str(logs)
