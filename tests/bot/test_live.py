"""The owner's live session: in by getDifference, out with a random_id."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from bot_scene import ADA, BEN, BOT, EVE, OWNER, labels, until
from live_scene import keep_session, live

from bot.context import Bells, utc_now
from bot.live.live import Live
from bot.ways import CannotTell
from bot.ways.session import SessionWay
from sandbox.world import BusinessConnection, Deleted, Group, Read, Typing
from trainer.collect import collect
from trainer.session import session_path
from twin import account
from twin.cli.account import KeptAccounts
from twin.store import dialogs, drafts, facts, outbox


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


async def test_what_telegram_sends_while_he_is_away_is_no_takeover(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        scene.contact_writes("hello Olga")
        card = await scene.card("hello Olga")
        scene.world.send(OWNER, ADA, "I am away until Monday.", unattended=True)
        await scene.current()
        await scene.idle()
        assert labels(card)[0] == "Send"
        assert [(row["text"], row["unattended"]) for row in await scene.rows("messages") if row["out"]] == [
            ("I am away until Monday.", True)
        ]
        assert (await scene.rows("dialogs"))[0]["silent_until"] is None
        scene.tap(card, "Send")
        await until(lambda: scene.received_by() == ["I am away until Monday.", "answer 1"])


async def test_a_chat_that_telethon_cannot_read_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        await scene.stop()
        scene.contact_writes("of a newer Telegram", sender=BEN).garbled = "constructor"
        scene.contact_writes("of this one", sender=BEN)
        await scene.start()
        scene.contact_writes("hello Olga")
        await scene.card("hello Olga")
        told = await scene.hear("I leave that chat until the library is updated")
        assert "Ben" in told.text or str(BEN) in told.text
        await scene.current()
        await scene.idle()
        assert [text for text, *_ in await scene.words()] == ["hello Olga"]
        scene.contact_writes("and more", sender=BEN)
        await scene.current()
        await scene.idle()
        assert sum("I leave that chat" in text for text in scene.seen_by(OWNER)) == 1


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
        scene.fail("updates", "reorder", times=1000)  # keeps pushes back
        scene.owner_writes("yes")
        scene.tap(card, "Send")
        await scene.idle()
        assert scene.received_by() == ["yes"]
        assert "sent" not in {b["state"] for b in await scene.rows("outbox")}


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
        await scene.connected()
        scene.says("/status")
        assert "your live session\n" in (await scene.hear("your live session")).text
        scene.server.revoke(OWNER)
        scene.server.drop_connections()
        await scene.hear("Telegram has ended the session")
        scene.says("/status")
        await scene.hear("your live session (signed out)")
        calls = len(scene.server.calls)
        scene.writes("to the bot itself", sender=EVE)
        await scene.card("to the bot itself")  # the bot goes on
        await scene.stop()
        await scene.start()
        scene.writes("and again", sender=EVE)
        await scene.card("and again")
        assert len(scene.server.calls) == calls, "a lost session is left alone"
        assert len([t for t in scene.seen_by(OWNER) if "ended the session" in t]) == 1


async def test_a_bug_that_a_difference_meets_does_not_end_the_bot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with live(tmp_path) as scene:
        good = account.contact_wrote

        async def broken(*_: Any, **__: Any) -> bool:
            raise KeyError("synthetic")

        monkeypatch.setattr(account, "contact_wrote", broken)
        monkeypatch.setattr("bot.live.live.FIRST_PAUSE", 0.01)
        scene.contact_writes("hello")
        await scene.hear("I cannot follow your own chats")
        scene.writes("to the bot itself", sender=EVE)
        await scene.card("to the bot itself")
        monkeypatch.setattr(account, "contact_wrote", good)
        await scene.card("hello")
        assert len([t for t in scene.seen_by(OWNER) if "cannot follow" in t]) == 1


async def test_what_was_written_too_long_ago_is_kept_and_not_answered(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        await scene.stop()
        scene.contact_writes("last week", date=int(time.time()) - 7 * 86_400)
        scene.contact_writes("just now", sender=BEN)
        await scene.start()
        await scene.card("just now")
        await scene.current()
        await scene.idle()
        assert await scene.words() == [("last week", False, "collected")]
        assert [d["dialog_id"] for d in await scene.rows("drafts")] == [BEN]


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


async def test_after_a_gap_too_long_to_be_told_the_chats_are_read(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        scene.contact_writes("before", sender=BEN)
        await scene.card("before")
        await scene.current()
        await scene.stop()
        scene.server.difference_most = 5
        for i in range(120):
            scene.contact_writes(f"line {i}")
        scene.contact_writes("after", sender=BEN)
        scene.owner_writes("by hand", to=BEN)
        await scene.start()
        await scene.card("line 119")
        await scene.current()
        await scene.idle()
        assert [w[0] for w in await scene.words()] == [f"line {i}" for i in range(120)]
        assert [w[0] for w in await scene.words(BEN)] == ["before", "after", "by hand"]
        assert {d["dialog_id"] for d in await scene.rows("drafts") if d["state"] == "pending"} == {ADA}


async def test_a_place_that_telegram_does_not_know_is_left_behind(tmp_path: Path) -> None:
    async with live(tmp_path, started=False) as scene:
        async with scene.store.begin() as connection:
            await facts.put(connection, "live state", {"pts": 900, "qts": 0, "date": int(time.time()) - 60})
        scene.contact_writes("while nobody knew where we were")
        await scene.start()
        await scene.card("while nobody knew")
        await scene.current()


@pytest.mark.parametrize(("there", "by_bot"), [(True, True), (True, False), (False, True)])
async def test_a_business_send_of_unknown_outcome_is_looked_up_in_the_chat(tmp_path: Path, there: bool, by_bot: bool) -> None:
    async with live(tmp_path) as scene:
        connection = BusinessConnection("c1", OWNER, BOT, 0)
        scene.world.set_connection(connection)
        scene.contact_writes("hello")
        await scene.card("hello")
        bubble = await scene.tried_by_business("fine")
        await scene.stop()  # or it would settle it by its echo
        if there:
            scene.world.send(OWNER, ADA, "fine", connection=connection if by_bot else None, silent=True)
        session = Live(KeptAccounts(scene.store, scene.settings), scene.store, scene.settings, Bells())
        listening = asyncio.create_task(session.run())
        try:
            await until(lambda: session.is_connected)
            found = await SessionWay(session, scene.store).look_up(bubble)
        finally:
            listening.cancel()
            await asyncio.wait({listening})
        newest = scene.world.history(OWNER, ADA)[-1].ids[OWNER]
        assert (found and found.message_id) == (newest if there and by_bot else None)


async def test_two_messages_that_may_be_the_one_cannot_be_told_apart(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        connection = BusinessConnection("c1", OWNER, BOT, 0)
        scene.world.set_connection(connection)
        scene.contact_writes("hello")
        await scene.card("hello")
        bubble = await scene.tried_by_business("fine")
        for _ in range(2):
            scene.world.send(OWNER, ADA, "fine", connection=connection, silent=True)
        session = Live(KeptAccounts(scene.store, scene.settings), scene.store, scene.settings, Bells())
        with pytest.raises(CannotTell):  # not connected
            await SessionWay(session, scene.store).look_up(bubble)
        listening = asyncio.create_task(session.run())
        try:
            await until(lambda: session.is_connected)
            with pytest.raises(CannotTell):
                await SessionWay(session, scene.store).look_up(bubble)
        finally:
            listening.cancel()
            await asyncio.wait({listening})


async def test_typing_reading_and_deleting_reach_the_contact(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        scene.contact_writes("hello")
        scene.tap(await scene.card("hello"), "Send")
        await until(lambda: scene.received_by() == ["answer 1"])
        await scene.idle()
        events: list[Any] = []
        scene.world.subscribe(events.append)
        session = Live(KeptAccounts(scene.store, scene.settings), scene.store, scene.settings, Bells())
        way = SessionWay(session, scene.store)
        await way.typing(ADA)  # not connected: no error
        listening = asyncio.create_task(session.run())
        try:
            await until(lambda: session.is_connected)
            await way.typing(ADA)
            await way.read(ADA, scene.world.history(OWNER, ADA)[0].ids[OWNER])
            sent = scene.world.history(OWNER, ADA)[-1].ids[OWNER]
            await way.delete(ADA, [sent])
            await way.delete(ADA, [sent])
        finally:
            listening.cancel()
            await asyncio.wait({listening})
        assert [type(event) for event in events] == [Typing, Read, Deleted]
        assert scene.received_by() == []
        await scene.current()
        assert await scene.words() == [("hello", False, "collected")]


async def test_a_business_echo_seen_by_the_session_is_no_takeover(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        connection = BusinessConnection("c1", OWNER, BOT, 0)
        scene.contact_writes("hello")
        await scene.card("hello")
        scene.world.send(OWNER, ADA, "from another life", connection=connection)
        await scene.current()
        await scene.idle()
        assert [d["state"] for d in await scene.rows("drafts")] == ["pending"]
        assert await scene.words() == [("hello", False, "collected"), ("from another life", True, "twin")]


async def test_a_send_that_a_killed_life_made_is_settled_by_the_difference(tmp_path: Path) -> None:
    """kill -9 between the request and the record, then the owner writes by hand: the send is the twin's, the rest is cancelled."""
    async with live(tmp_path) as scene:
        scene.contact_writes("hello")
        await scene.card("hello")
        await scene.idle()
        await scene.stop()
        async with scene.store.begin() as connection:
            (draft,) = await drafts.pending(connection, "account", ADA)
            await drafts.change(connection, draft, state="sending")
            await outbox.add(connection, draft, ["first", "second"])
            first = (await outbox.of_draft(connection, draft.id))[0]
            await outbox.move(connection, first, "sending", way="session", tried_at=utc_now())
        scene.world.send(OWNER, ADA, "first", random_id=first.random_id)
        scene.owner_writes("it is me now")
        await scene.start()
        await scene.current()
        await scene.idle()
        assert scene.received_by() == ["first", "it is me now"]
        assert [b["state"] for b in await scene.rows("outbox")] == ["sent", "cancelled"]
        assert [w[1:] for w in await scene.words()] == [(False, "collected"), (True, "twin"), (True, "collected")]


async def test_an_interrupted_send_is_not_made_up_for_after_a_takeover(tmp_path: Path) -> None:
    async with live(tmp_path) as scene:
        scene.contact_writes("hello")
        await scene.card("hello")
        await scene.idle()
        await scene.stop()
        async with scene.store.begin() as connection:
            (draft,) = await drafts.pending(connection, "account", ADA)
            await drafts.change(connection, draft, state="sending")
            await outbox.add(connection, draft, ["first"])
            first = (await outbox.of_draft(connection, draft.id))[0]
            await outbox.move(connection, first, "sending", way="session", tried_at=utc_now())
        scene.owner_writes("it is me now")
        await scene.start()
        await scene.current()
        await scene.idle()
        assert scene.received_by() == ["it is me now"]
        assert (await scene.rows("outbox"))[0]["state"] in ("cancelled", "failed")


async def test_a_session_of_another_account_is_not_listened_to(tmp_path: Path) -> None:
    async with live(tmp_path, started=False) as scene:
        keep_session(scene.settings, scene.server, ADA)
        await scene.start()
        await scene.hear("another account than the owner's")
        scene.world.send(BEN, ADA, "for Ada only")
        scene.writes("hi", sender=EVE)
        await scene.card("hi")
        assert {m["dialog_id"] for m in await scene.rows("messages")} == {EVE}


async def test_a_store_of_another_account_is_not_added_to(tmp_path: Path) -> None:
    async with live(tmp_path, started=False) as scene:
        async with scene.store.begin() as connection:
            await facts.put(connection, "account", ADA)
        await scene.start()
        await scene.hear("The store has the chats of another account than the owner's.")
        scene.world.send(BEN, OWNER, "for Olga's own account")
        scene.writes("hi", sender=EVE)
        await scene.card("hi")
        assert {m["dialog_id"] for m in await scene.rows("messages")} == {EVE}


async def test_the_live_session_makes_the_store_its_accounts(tmp_path: Path) -> None:
    async with live(tmp_path) as scene, scene.store.connect() as connection:
        assert await facts.get(connection, "account") == OWNER


async def test_a_new_sign_in_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.live.live.SIGNED_OUT_SECONDS", 0.1)
    async with live(tmp_path, started=False) as scene:
        session_path(scene.settings).unlink()
        await scene.start()
        await scene.hear("not signed in")
        keep_session(scene.settings, scene.server)
        await scene.connected()
        scene.contact_writes("hello")
        await scene.card("hello")
