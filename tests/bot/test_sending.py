"""Sending: order, floods, unknown outcomes, refusals."""

import asyncio
import time
from pathlib import Path

from bot_scene import ADA, BEN, BOT, Scene, labels, opened, until

from bot.context import utc_now
from bot.sender import send
from bot.telegram import make_bot
from bot.ways.chat import BotWay
from sandbox.botapi import BotApi
from twin import decisions
from twin.store import dialogs, drafts


async def _approved(scene: Scene, words: str = "one\ntwo", *, sender: int = ADA) -> None:
    """A card is there and the owner has tapped Send."""
    scene.engine.queue.append(words)
    scene.writes("hello", sender=sender)
    card = await until(lambda: [c for c in scene.cards() if labels(c)])
    await scene.idle()
    scene.tap(card[-1], "Send")


async def _states(scene: Scene) -> list[str]:
    return [row["state"] for row in await scene.rows("outbox")]


async def test_a_flood_limit_is_waited_out_and_loses_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.queue = ["one\ntwo"]
        scene.writes("hello")
        card = await scene.card()
        await scene.idle()
        scene.fail("sendMessage", "flood", 1, skip=1)
        scene.tap(card, "Send")
        await until(lambda: scene.seen_by(ADA) == ["one", "two"])
        tries = [call.at for call in scene.api.calls if call.method == "sendMessage" and call.params["chat_id"] == ADA]
        assert len(tries) == 3
        assert tries[2] - tries[1] >= 1.0


async def test_an_answer_that_was_lost_is_asked_about_and_not_sent_twice(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.queue = ["one\ntwo"]
        scene.writes("hello")
        card = await scene.card()
        await scene.idle()
        scene.fail("sendMessage", "drop_after")
        scene.tap(card, "Send")
        question = await scene.hear("I cannot tell whether this reached Ada Lovelace")
        assert labels(question) == ["Send again", "It arrived"]
        await until(lambda: "Perhaps sent" in card.text)
        assert scene.seen_by(ADA) == ["one"]
        assert await _states(scene) == ["uncertain", "waiting"]
        scene.tap(question, "It arrived")
        await until(lambda: "Sent:" in card.text)
        assert scene.seen_by(ADA) == ["one", "two"]
        await until(lambda: labels(question) == [])
        await scene.idle()
        assert [row["text"] for row in await scene.rows("messages") if row["out"]] == ["one", "two"]


async def test_a_send_that_was_lost_goes_again_when_the_owner_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        card = await scene.card()
        await scene.idle()
        scene.fail("sendMessage", "drop_before")
        scene.tap(card, "Send")
        question = await scene.hear("I cannot tell")
        buttons = question.reply_markup
        assert scene.seen_by(ADA) == []
        scene.tap(question, "Send again")
        await until(lambda: scene.seen_by(ADA) == ["answer 1"])
        await until(lambda: labels(question) == [])
        question.reply_markup = buttons
        scene.tap(question, "Send again")
        await scene.idle()
        assert scene.seen_by(ADA) == ["answer 1"]


async def test_a_server_error_is_not_repeated_on_a_guess(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        card = await scene.card()
        await scene.idle()
        scene.fail("sendMessage", "error", [502, "Bad Gateway"])
        scene.tap(card, "Send")
        await scene.hear("I cannot tell")
        assert await _states(scene) == ["uncertain"]


async def test_an_uncertain_chat_stands_still_and_others_go_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.queue = ["one\ntwo"]
        scene.writes("hello")
        card = await scene.card()
        await scene.idle()
        scene.fail("sendMessage", "drop_after")
        scene.tap(card, "Send")
        await scene.hear("I cannot tell")
        scene.writes("more")
        scene.tap(await scene.card("more"), "Send")
        scene.writes("hi", sender=BEN)
        scene.tap(await scene.card("hi"), "Send")
        await until(lambda: scene.seen_by(BEN))
        assert scene.seen_by(ADA) == ["one"]
        scene.tap(await scene.hear("I cannot tell"), "It arrived")
        await until(lambda: len(scene.seen_by(ADA)) == 3)
        assert scene.seen_by(ADA)[:2] == ["one", "two"]


async def test_a_contact_who_blocked_the_bot_is_reported(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.queue = ["one\ntwo"]
        scene.writes("hello")
        card = await scene.card()
        scene.world.account(ADA).blocked.add(BOT)
        scene.tap(card, "Send")
        await scene.hear("Draft 1 could not be sent to Ada Lovelace: they have blocked the bot.")
        await until(lambda: "Not sent, they have blocked the bot" in card.text)
        assert await _states(scene) == ["failed", "failed"]
        assert scene.seen_by(ADA) == []


async def test_no_connection_at_all_is_tried_again(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        scene.writes("hello", silent=True)
        async with scene.store.begin() as connection:
            await dialogs.save(connection, ADA, name="Ada", username=None)
            draft = await drafts.add(connection, channel="bot", dialog_id=ADA, answers_message_id=0, text="later", at=utc_now())
            await decisions.send(connection, draft.id, utc_now())
        port = int(scene.api.base_url.rsplit(":", 1)[1])
        await scene.api.stop()
        twin, bot = scene.twin(), make_bot(scene.settings)
        task = asyncio.create_task(send(twin, {"bot": BotWay(bot)}))
        await until(lambda: _held(scene))
        assert await _states(scene) == ["waiting"]
        scene.api = await BotApi(scene.world, scene.faults).start(port)
        await until(lambda: scene.seen_by(ADA) == ["later"])
        task.cancel()
        await asyncio.wait({task})
        await bot.session.close()
        assert await _states(scene) == ["sent"]


async def _held(scene: Scene) -> bool:
    return any(row["not_before_at"] for row in await scene.rows("outbox"))


async def test_bubbles_pause_and_show_typing_between_them(tmp_path: Path) -> None:
    async with opened(tmp_path, bubble_seconds=0.3) as scene:
        began = time.monotonic()
        await _approved(scene, "a\nb\nc")
        await until(lambda: scene.seen_by(ADA) == ["a", "b", "c"])
        assert time.monotonic() - began >= 0.6
        assert [call["chat_id"] for call in scene.api.calls_of("sendChatAction")].count(ADA) == 2


async def test_a_bubble_longer_than_telegram_allows_goes_in_pieces(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        card = await scene.card()
        scene.tap(card, "Edit")
        question = await scene.hear("instead")
        text = "😀 " * 1300  # 3,900 units
        scene.says(text.strip(), reply_to=question)
        await until(lambda: scene.seen_by(ADA))
        await scene.idle()
        assert " ".join(scene.seen_by(ADA)) == text.strip()
        assert len(card.text.encode("utf-16-le")) // 2 <= 4096
