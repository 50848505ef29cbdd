"""Updates: doubled, out of order, unreadable, poisonous; and a Telegram that does not answer."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from bot_scene import ADA, BOT, OWNER, Scene, opened, until
from structlog.testing import capture_logs

from bot.handlers import contacts
from bot.poller import poll
from twin.errors import SettingsError, TelegramError


async def test_doubled_and_reordered_updates_are_handled_once_each(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False, burst_seconds=0.3) as scene:
        scene.fail("updates", "duplicate", times=50)
        scene.fail("updates", "reorder", times=50)
        for text in ("one", "two", "three"):
            scene.writes(text)
        await scene.start()
        card = await scene.card("three")
        assert "one\ntwo\nthree" in card.text
        scene.tap(card, "Send")
        await until(lambda: scene.seen_by(ADA) == ["answer 1"])
        await scene.idle()
        assert scene.seen_by(ADA) == ["answer 1"]
        assert len(scene.cards()) == 1


FORWARDED = {"forward_origin": {"type": "hidden_user", "date": 1, "sender_user_name": "Somebody"}}  # so it takes the inbox


async def test_an_update_is_in_the_store_before_the_poll_that_acknowledges_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        update_id = scene.api.push_update(BOT, "message", _message(1, "hello") | FORWARDED)
        await until(lambda: not len(scene.api.door.inbox(BOT)))
        assert update_id in [row["update_id"] for row in await scene.rows("inbox")]


async def test_plain_words_are_in_the_store_before_the_poll_that_acknowledges_them_and_not_in_the_inbox(tmp_path: Path) -> None:
    async with opened(tmp_path, burst_seconds=60) as scene:
        scene.api.push_update(BOT, "message", _message(1, "hello"))
        await until(lambda: not len(scene.api.door.inbox(BOT)))
        assert [row["text"] for row in await scene.rows("messages")] == ["hello"]
        assert [row["dialog_id"] for row in await scene.rows("replies_due")] == [ADA]
        assert await scene.rows("inbox") == []


async def test_handled_updates_leave_no_words_in_the_inbox(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.api.push_update(BOT, "message", _message(1, "a secret") | FORWARDED)
        await scene.card("a secret")
        await scene.idle()
        assert {row["payload"] for row in await scene.rows("inbox")} == {""}


async def test_a_poisonous_update_is_set_aside_and_told_once_without_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = contacts.to_message

    def poisoned(message):  # type: ignore[no-untyped-def]
        if message.text == "poison":
            raise RuntimeError("poison")
        return keep(message)

    monkeypatch.setattr(contacts, "to_message", poisoned)
    with capture_logs() as logs:
        async with opened(tmp_path) as scene:
            scene.api.push_update(BOT, "message", _message(1, "poison") | FORWARDED)
            scene.writes("hello")
            await scene.card("hello")
            told = await scene.hear("set it aside")
            assert "RuntimeError" in told.text
            assert "poison" not in told.text
            await scene.idle()
            assert [row["error"] for row in await scene.rows("inbox")] == ["RuntimeError", None]
            assert len([text for text in scene.seen_by(OWNER) if "set it aside" in text]) == 1
    failed = [entry for entry in logs if entry["event"] == "update.failed"]
    assert [entry["attempt"] for entry in failed] == [1, 2, 3]
    assert "poison" not in str(logs)


@pytest.mark.parametrize(
    "broken",
    [
        {"text": "half \ud83d"},
        {"text": "half \ude00 a character"},
        {"text": "x", "from": {"id": ADA, "is_bot": False, "first_name": "A\ud83d"}},
        {"text": "x", "chat": {"id": ADA, "type": "private", "first_name": "A\udfff"}} | FORWARDED,
        {"caption": "\ud83d", "photo": [{"file_id": "1", "file_unique_id": "1", "width": 1, "height": 1}]},
    ],
    ids=["text", "low", "sender", "chat", "caption"],
)
async def test_half_a_character_is_set_aside_and_the_next_ones_are_read(tmp_path: Path, broken: dict[str, Any]) -> None:
    async with opened(tmp_path) as scene:
        scene.api.push_update(BOT, "message", _message(1, "x") | broken)
        scene.writes("hello")
        await scene.card("hello")
        await scene.idle()
        assert all(row["done_at"] for row in await scene.rows("inbox"))
        await scene.stop()
        await scene.start()
        scene.writes("and again")
        await scene.card("and again")


async def test_an_update_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.api.push_update(BOT, "message", {"message_id": "not a number", "nonsense": True})
        scene.api.push_update(BOT, "message", _message(77, "hello") | {"hologram": {"kind": "unknown to this version"}})
        await scene.card("hello")
        await scene.hear("set it aside")


async def test_no_log_line_holds_words_names_or_the_token(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with opened(tmp_path) as scene:
            scene.engine.queue = ["generatedword"]
            scene.writes("contactword")
            card = await scene.card("contactword")
            scene.fail("sendMessage", "drop_after")
            scene.tap(card, "Edit")
            scene.says("ownerword")
            await scene.idle()
    text = str(logs)
    assert "card.tapped" in text
    for secret in ("contactword", "generatedword", "ownerword", "Lovelace", "Ada", "SANDBOX"):
        assert secret not in text


@pytest.mark.parametrize(
    "fault",
    [
        ("error", [409, "Conflict: terminated by other getUpdates request"]),
        ("error", [502, "Bad Gateway"]),
        ("flood", 1),
        ("drop_before", None),
    ],
)
async def test_a_poll_that_fails_is_logged_in_one_line_and_tried_again(tmp_path: Path, fault: tuple[str, object]) -> None:
    with capture_logs() as logs:
        async with opened(tmp_path, started=False) as scene:
            scene.fail("getUpdates", *fault)
            scene.writes("hello")
            await scene.start()
            await scene.card("hello")
    failed = [entry for entry in logs if entry["event"] == "poll.failed"]
    assert len(failed) == 1
    assert failed[0]["retry_seconds"] == 1.0
    assert "poll.recovered" in [entry["event"] for entry in logs]


async def test_a_webhook_that_stands_in_the_way_is_removed(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        scene.fail(
            "getUpdates",
            "error",
            [409, "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"],
        )
        await scene.start()
        await until(lambda: scene.api.calls_of("deleteWebhook"))


async def test_a_refused_token_is_said_at_the_start(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False, token="42:WRONG") as scene:
        with pytest.raises(TelegramError, match="Telegram refuses the bot's token"):
            await scene.start()
        scene._task = None


async def test_settings_that_are_missing_are_named(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        for group, name in (
            ({"owner": scene.settings.owner.model_copy(update={"id": None})}, "TWIN_OWNER__ID"),
            ({"bot": scene.settings.bot.model_copy(update={"token": None})}, "TWIN_BOT__TOKEN"),
            ({"schedule": scene.settings.schedule.model_copy(update={"nightly": "whenever"})}, "TWIN_SCHEDULE__NIGHTLY"),
        ):
            scene.settings, kept = scene.settings.model_copy(update=group), scene.settings
            with pytest.raises(SettingsError, match=name):
                await scene.start()
            scene.settings, scene._task = kept, None


async def test_it_waits_for_a_telegram_that_is_not_there_yet(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        scene.fail("getMe", "drop_before")
        scene.writes("hello")
        await scene.start()
        await scene.card("hello")


async def test_an_owner_who_has_not_started_the_bot_gets_the_cards_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.desk.UNREACHABLE_SECONDS", 0.2)
    async with opened(tmp_path) as scene:
        scene.world.account(OWNER).blocked.add(BOT)
        scene.writes("hello")
        await until(lambda: _pending(scene))
        await asyncio.sleep(0.3)
        scene.world.account(OWNER).blocked.clear()
        card = await scene.card("hello")
        scene.tap(card, "Send")
        await until(lambda: scene.seen_by(ADA))


async def _pending(scene: Scene) -> bool:
    return bool(await scene.rows("drafts"))


def _message(message_id: int, text: str) -> dict[str, object]:
    person = {"id": ADA, "is_bot": False, "first_name": "Ada"}
    return {
        "message_id": message_id,
        "date": 1_700_000_000,
        "from": person,
        "chat": {"id": ADA, "type": "private", "first_name": "Ada"},
        "text": text,
    }


async def test_what_has_no_number_is_passed_over_and_what_has_one_is_kept(tmp_path: Path) -> None:
    """A proxy's answer, say: the numbered update is kept, and only it is acknowledged."""
    async with opened(tmp_path, started=False) as scene:
        asked: list[int | None] = []
        second = asyncio.Event()

        async def bot(method: Any, **more: Any) -> list[dict[str, Any]]:
            asked.append(method.offset)
            if len(asked) == 1:
                strange = [{}, {"update_id": "7"}, {"update_id": True}, {"update_id": -1}, {"update_id": 2**63}]
                return [*strange, {"update_id": 5, "message": _message(1, "hello") | FORWARDED}]
            second.set()
            await asyncio.Event().wait()
            return []

        polling = asyncio.create_task(poll(scene.twin(), bot, ["message"]))  # type: ignore[arg-type]
        await second.wait()
        polling.cancel()
        await asyncio.wait({polling})
        assert asked == [None, 6]
        assert [row["update_id"] for row in await scene.rows("inbox")] == [5]
