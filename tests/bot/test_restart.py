"""What is half done when the bot stops goes on when it starts again."""

from pathlib import Path

from bot_scene import ADA, BEN, OWNER, UNREACHABLE, Scene, labels, opened, until

from bot.context import utc_now
from twin import decisions, sending
from twin.store import cards, drafts, outbox


async def test_a_card_from_before_a_restart_still_works(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        card = await scene.card("hello")
        await scene.stop()
        await scene.start()
        scene.tap(card, "Another")
        await until(lambda: "answer 2" in card.text)
        await scene.stop()
        scene.tap(card, "Send")
        await scene.start()
        await until(lambda: scene.seen_by(ADA) == ["answer 2"])
        await until(lambda: "Sent:" in card.text)
        assert len(scene.cards()) == 1


async def test_an_open_edit_survives_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        scene.tap(await scene.card("hello"), "Edit")
        await scene.hear("instead")
        await scene.idle()
        await scene.stop()
        scene.says("my own words")
        await scene.start()
        await until(lambda: scene.seen_by(ADA) == ["my own words"])
        await scene.idle()
        assert scene.engine.said == 1


async def test_messages_that_came_while_it_was_down_are_answered(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.stop()
        scene.writes("one")
        scene.writes("two")
        await scene.start()
        assert "one\ntwo" in (await scene.card()).text


async def test_what_waited_for_the_engine_waits_on_over_a_restart_and_the_outage_is_told_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.down = UNREACHABLE
        scene.writes("hello")
        await scene.hear("I cannot answer")
        await scene.stop()
        await scene.start()
        await until(lambda: len(scene.engine.asked) >= 2)
        scene.engine.down = None
        await scene.card("hello")
        await scene.idle()
        assert [text.split(":")[0] for text in scene.seen_by(OWNER) if "answer at" in text] == ["I cannot answer at the moment"]


async def test_a_send_cut_off_by_the_end_of_the_process_is_asked_about(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.queue = ["one\ntwo"]
        scene.writes("hello")
        await scene.card("hello")
        await scene.idle()
        await scene.stop()
        await _die_while_sending(scene)
        await scene.start()
        question = await scene.hear("I cannot tell whether this reached Ada Lovelace")
        assert scene.seen_by(ADA) == []
        scene.tap(question, "Send again")
        await until(lambda: scene.seen_by(ADA) == ["one", "two"])


async def _die_while_sending(scene: Scene) -> None:
    """Leave the store as a kill between "sending" and the request's answer leaves it."""
    async with scene.store.begin() as connection:
        (draft,) = await drafts.pending(connection)
        await decisions.send(connection, draft.id, utc_now())
        bubble = await outbox.first(connection)
        assert bubble
        await sending.begin(connection, bubble, utc_now())


async def test_bubbles_still_waiting_go_out_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path, bubble_seconds=1.0) as scene:
        scene.engine.queue = ["one\ntwo"]
        scene.writes("hello")
        scene.tap(await scene.card("hello"), "Send")
        await scene.hear("one", account=ADA)
        await scene.stop()
        assert scene.seen_by(ADA) == ["one"]
        await scene.start()
        await until(lambda: scene.seen_by(ADA) == ["one", "two"])


async def test_a_send_in_flight_when_it_is_stopped_is_waited_for(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        card = await scene.card("hello")
        await scene.idle()
        scene.fail("sendMessage", "delay", 0.4)
        scene.tap(card, "Send")
        await until(lambda: _in_flight(scene))
        assert await scene.stop() < 2
        assert [row["state"] for row in await scene.rows("outbox")] == ["sent"]
        assert scene.seen_by(ADA) == ["answer 1"]


async def _in_flight(scene: Scene) -> bool:
    return any(row["state"] == "sending" for row in await scene.rows("outbox"))


async def test_a_card_whose_id_was_lost_is_shown_again_and_the_first_one_is_retired(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        first = await scene.card("hello")
        await scene.idle()
        await scene.stop()
        async with scene.store.begin() as connection:
            (draft,) = await drafts.pending(connection)
            await cards.mark_shown(connection, draft, None, None)
            await drafts.change(connection, draft)
        await scene.start()
        second = await scene.card("hello", number=2)
        await scene.idle()
        scene.tap(first, "Send")
        await until(lambda: scene.seen_by(ADA) == ["answer 1"])
        await until(lambda: "Sent:" in second.text and not labels(first))


async def test_two_chats_go_on_independently_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("from ada")
        scene.writes("from ben", sender=BEN)
        ada, ben = await scene.card("from ada"), await scene.card("from ben")
        await scene.stop()
        scene.tap(ben, "Send")
        scene.tap(ada, "Skip")
        await scene.start()
        await until(lambda: len(scene.seen_by(BEN)) == 1)
        await until(lambda: labels(ada) == ["Undo"])
        assert scene.seen_by(ADA) == []
