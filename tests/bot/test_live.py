"""The owner's live session: in by getDifference, out with a random_id."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from bot_scene import ADA, BEN, EVE, OWNER, labels, until
from live_scene import live

from sandbox.world import Group
from trainer.collect import collect
from twin.store import dialogs


async def test_a_contact_writes_and_the_approved_draft_goes_as_the_owner(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        scene.contact_writes("hello Olga")
        card = await scene.card("hello Olga")
        scene.tap(card, "Send")
        await until(lambda: scene.received_by() == ["answer 1"])
        await scene.idle()
        await scene.current()
        assert await scene.words() == [("hello Olga", False, "collected"), ("answer 1", True, "twin")]
        assert [(b["state"], b["way"]) for b in await scene.rows("outbox")] == [("sent", "session")]
        assert (await scene.rows("dialogs"))[0]["silent_until"] is None


async def test_edits_and_deletions_of_a_contact_are_followed(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        first = scene.contact_writes("come at fvie")
        await scene.card("come at fvie")
        scene.world.edit(first, text="come at five")
        card = await scene.card("come at five")
        second = scene.contact_writes("and bring wine")
        await scene.card("and bring wine")
        scene.world.delete([second])
        await scene.current()
        await scene.idle()
        assert await scene.words() == [("come at five", False, "collected")]
        assert scene.cards("and bring wine") == []
        drafts = await scene.rows("drafts")
        assert [d["state"] for d in drafts[:-1]] == ["expired"] * (len(drafts) - 1)
        assert drafts[-1]["state"] == "pending"
        assert card.uid


async def test_a_draft_for_a_message_that_was_deleted_is_withdrawn(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        regretted = scene.contact_writes("I love you")
        card = await scene.card("I love you")
        scene.world.delete([regretted])
        await scene.current()
        await scene.idle()
        assert [d["state"] for d in await scene.rows("drafts")] == ["expired"]
        assert await scene.rows("replies_due") == []
        scene.tap(card, "Send") if "Send" in labels(card) else None
        await scene.idle()
        assert scene.received_by() == []


async def test_what_happened_while_the_bot_was_down_is_found_once(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        kept = scene.contact_writes("one")
        gone = scene.contact_writes("two")
        await scene.card("two")
        await scene.stop()
        scene.world.edit(kept, text="one, edited")
        scene.world.delete([gone])
        scene.contact_writes("three")
        scene.contact_writes("hi", sender=BEN)
        scene.owner_writes("I am here", to=BEN)
        await scene.start()
        await scene.card("three")
        await scene.current()
        await scene.idle()
        assert await scene.words() == [("one, edited", False, "collected"), ("three", False, "collected")]
        assert await scene.words(BEN) == [("hi", False, "collected"), ("I am here", True, "collected")]
        assert scene.cards("hi") == [], "the owner had answered by hand"
        made = len(await scene.rows("drafts"))
        await scene.stop()
        await scene.start()
        scene.contact_writes("four")
        await scene.card("four")
        await scene.idle()
        assert len(await scene.rows("drafts")) == made + 1, "nothing is told twice"


async def test_nothing_from_before_the_first_start_is_answered(tmp_path: Path) -> None:
    async with live(tmp_path, started=False) as scene:
        old = scene.contact_writes("from long ago")
        await scene.start()
        await scene.connected()
        scene.world.edit(old, text="from long ago!")  # a reaction comes as an edit too
        scene.world.react(ADA, old, ["x"])
        scene.contact_writes("new", sender=BEN)
        await scene.card("new")
        await scene.idle()
        assert [d["dialog_id"] for d in await scene.rows("drafts")] == [BEN]


async def test_the_owner_who_writes_by_hand_takes_over(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        scene.contact_writes("are you there?")
        card = await scene.card("are you there?")
        scene.owner_writes("yes, it is me")
        await until(lambda: "Send" not in labels(card))
        await scene.idle()
        drafts = await scene.rows("drafts")
        assert [(d["state"], d["reason"]) for d in drafts] == [("expired", "taken over")]
        assert (await scene.rows("dialogs"))[0]["silent_until"] is not None
        assert scene.received_by() == ["yes, it is me"]
        assert (await scene.words())[-1] == ("yes, it is me", True, "collected")


async def test_a_takeover_that_no_push_told_of_stops_the_send(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        scene.contact_writes("are you there?")
        card = await scene.card("are you there?")
        scene.world.send(OWNER, ADA, "yes", date=None)
        scene.tap(card, "Send")
        await scene.idle()
        assert scene.received_by() == ["yes"]


@pytest.mark.parametrize("duplicate", ["answer", "error"])
@pytest.mark.parametrize("fault", ["drop_after", "no_reply", "drop_before"])
async def test_a_lost_answer_makes_one_message(tmp_path: Path, duplicate: Any, fault: Any) -> None:
    async with live(tmp_path, call_seconds=1.0) as scene:
        scene.server.duplicate_random_id = duplicate
        scene.engine.queue = ["fine\nand you?"]
        scene.contact_writes("how are you?")
        scene.fail("SendMessage", fault)
        scene.tap(await scene.card("how are you?"), "Send")
        await until(lambda: scene.received_by() == ["fine", "and you?"])
        await scene.idle()
        await scene.current()
        assert [b["state"] for b in await scene.rows("outbox")] == ["sent", "sent"]
        ids = [m.ids[OWNER] for m in scene.world.history(OWNER, ADA)][1:]
        assert [b["sent_message_id"] for b in await scene.rows("outbox")] == ids
        assert [w[2] for w in await scene.words()] == ["collected", "twin", "twin"]
        assert (await scene.rows("dialogs"))[0]["silent_until"] is None, "its own send is no takeover"


async def test_a_flood_wait_delays_a_send_and_loses_nothing(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        scene.contact_writes("hello")
        scene.fail("SendMessage", "flood", 1)
        scene.tap(await scene.card("hello"), "Send")
        await until(lambda: scene.received_by() == ["answer 1"])
        assert scene.asked("SendMessage") == 2


async def test_a_contact_who_blocks_the_owner_fails_the_draft(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        scene.contact_writes("goodbye")
        card = await scene.card("goodbye")
        scene.world.block(ADA, OWNER)
        scene.tap(card, "Send")
        await scene.hear("they have blocked you")
        assert [d["state"] for d in await scene.rows("drafts")] == ["failed"]


async def test_duplicated_and_reordered_pushes_change_nothing(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        scene.fail("updates", "duplicate", times=3)
        scene.fail("updates", "reorder", times=4)
        for i in range(8):
            scene.contact_writes(f"line {i}")
        await scene.card("line 7")
        await scene.current()
        await scene.idle()
        assert [w[0] for w in await scene.words()] == [f"line {i}" for i in range(8)]
        live_drafts = [d for d in await scene.rows("drafts") if d["state"] == "pending"]
        assert len(live_drafts) == 1


async def test_a_stream_of_pushes_is_few_differences(tmp_path: Path) -> None:
    async with live(tmp_path, burst_seconds=30) as scene:
        before, began = scene.asked("GetDifference"), time.monotonic()
        for i in range(200):
            scene.contact_writes(f"line {i}")
            await asyncio.sleep(0.002)
        await scene.current()
        calls, seconds = scene.asked("GetDifference") - before, time.monotonic() - began
        # 100 events a slice; a difference that brought something is not asked for twice
        assert calls <= 2 + 4 + seconds / 0.3
        assert len(await scene.words()) == 200


async def test_a_lost_connection_is_opened_again(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        scene.server.drop_connections()
        scene.contact_writes("while you were away")
        await scene.card("while you were away")
        port = scene.server.port
        await scene.server.stop()
        await asyncio.sleep(0)
        await scene.server.start(port)
        scene.contact_writes("and again")
        await scene.card("and again")


async def test_a_session_that_telegram_has_ended_is_told_once(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        scene.server.revoke(OWNER)
        scene.server.drop_connections()
        await scene.hear("Telegram has ended the session")
        calls = len(scene.server.calls)
        scene.writes("to the bot itself", sender=EVE)
        await scene.card("to the bot itself")  # the bot goes on
        await scene.stop()
        await scene.start()
        scene.writes("and again", sender=EVE)
        await scene.card("and again")
        assert len(scene.server.calls) == calls, "a lost session is left alone"
        assert len([t for t in scene.seen_by(OWNER) if "ended the session" in t]) == 1


async def test_groups_bots_and_oneself_are_left_alone(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        group = scene.world.add_group(Group(900, "club", "basic_group", {OWNER, ADA}))
        scene.world.send(ADA, group.id, "to the club")
        scene.world.send(OWNER, OWNER, "a note")
        scene.contact_writes("to you", sender=BEN)
        await scene.card("to you")
        await scene.current()
        assert {m["dialog_id"] for m in await scene.rows("messages")} == {BEN}


async def test_an_excluded_dialog_is_never_read(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        async with scene.store.begin() as connection:
            await dialogs.save(connection, ADA, name="Ada", username=None)
            await dialogs.exclude(connection, ADA, True)
        scene.contact_writes("secret")
        scene.owner_writes("secret too")
        scene.contact_writes("hello", sender=BEN)
        await scene.card("hello")
        await scene.current()
        assert {m["dialog_id"] for m in await scene.rows("messages")} == {BEN}


async def test_a_collection_works_beside_the_live_session(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        scene.contact_writes("one")
        await scene.card("one")
        report = await collect(scene.store, scene.settings)
        assert report.dialogs >= 1
        scene.contact_writes("two")
        await scene.card("two")
        await scene.idle()
        assert [w[0] for w in await scene.words()] == ["one", "two"]


async def test_a_message_that_a_collection_stored_first_is_answered_all_the_same(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        await scene.stop()
        scene.contact_writes("one")
        scene.contact_writes("are you there?", sender=BEN)
        scene.owner_writes("yes", to=BEN)
        await collect(scene.store, scene.settings)
        await scene.start()
        await scene.card("one")
        await scene.current()
        await scene.idle()
        assert {d["dialog_id"]: d["state"] for d in await scene.rows("drafts")} == {ADA: "pending"}


async def test_sending_works_right_after_a_restart(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        scene.contact_writes("hello")
        card = await scene.card("hello")
        await scene.stop()
        await scene.start()
        scene.tap(card, "Send")
        await until(lambda: scene.received_by() == ["answer 1"])
