"""The owner writes in a chat himself: he wins each race, and the twin's own messages are never taken for his."""

from pathlib import Path

import pytest
from bot_scene import ADA, BEN, OWNER, Scene, labels, opened, until

from bot.context import utc_now
from sandbox.world import Typing
from twin import departures, takeover
from twin.store import drafts, inbox, outbox


async def _card(scene: Scene, words: str = "one\ntwo\nthree"):  # type: ignore[no-untyped-def]
    await scene.connected()
    scene.engine.queue = [words]
    scene.whispers("hello")
    card = await scene.card("hello")
    await scene.idle()
    return card


async def _silent(scene: Scene) -> bool:
    return any(row["silent_until"] for row in await scene.rows("dialogs"))


async def test_the_owners_own_message_withdraws_the_card_and_is_kept_as_what_he_said(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        card = await _card(scene)
        buttons = card.reply_markup
        mine = scene.types("i am here myself")
        await until(lambda: labels(card) == [])
        card.reply_markup = buttons
        scene.tap(card, "Send")
        await scene.idle()
        assert scene.chat() == ["i am here myself"]
        assert [(row["state"], row["reason"]) for row in await scene.rows("drafts")] == [("expired", "taken over")]
        (kept,) = [row for row in await scene.rows("messages") if row["out"]]
        assert (kept["message_id"], kept["text"], kept["source"]) == (mine.ids[OWNER], "i am here myself", "business")
        (dialog,) = await scene.rows("dialogs")
        assert dialog["silent_until"] > utc_now()
        assert len(await scene.rows("comparisons")) == 1


async def test_what_is_due_is_dropped(tmp_path: Path) -> None:
    async with opened(tmp_path, burst_seconds=600) as scene:
        await scene.connected()
        scene.whispers("hello")
        await until(lambda: _has_due(scene))
        scene.types("hello you")
        await until(lambda: _silent(scene))
        assert await scene.rows("replies_due") == []
        assert scene.engine.asked == []


async def test_what_telegram_sends_while_he_is_away_is_no_takeover(tmp_path: Path) -> None:
    """An away message while the draft is due, a greeting while its card waits: the draft stays, and answers the contact."""
    async with opened(tmp_path, burst_seconds=0.5) as scene:
        await scene.connected()
        scene.whispers("hello")
        scene.types("I am away until Monday.", unattended=True)
        card = await scene.card("hello")
        scene.types("Welcome!", unattended=True)
        scene.whispers("anyone there?", sender=BEN)  # handled after it
        await scene.card("anyone there?")
        await scene.idle()
        assert labels(card)[0] == "Send"
        assert not await _silent(scene)
        assert [turns[-1].content for turns in scene.engine.asked] == ["hello", "anyone there?"]
        kept = [(row["text"], row["unattended"]) for row in await scene.rows("messages") if row["out"]]
        assert kept == [("I am away until Monday.", True), ("Welcome!", True)]
        scene.tap(card, "Send")
        await until(lambda: scene.chat() == ["I am away until Monday.", "Welcome!", "answer 1"])
        scene.types("now it is me")
        await until(lambda: _silent(scene))


async def test_after_a_deletion_an_away_message_is_no_answer(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        scene.whispers("hello")
        regretted = scene.whispers("and another thing")
        await scene.card("and another thing")
        scene.types("I am away until Monday.", unattended=True)
        scene.world.delete([regretted])
        card = await until(lambda: [c for c in scene.cards("hello") if "another thing" not in c.text and labels(c)])
        assert labels(card[0])[0] == "Send"


async def _has_due(scene: Scene) -> bool:
    return bool(await scene.rows("replies_due"))


async def test_between_two_bubbles_the_owner_stops_the_rest(tmp_path: Path) -> None:
    async with opened(tmp_path, bubble_seconds=600) as scene:
        card = await _card(scene)
        scene.tap(card, "Send")
        await until(lambda: scene.chat() == ["one"])
        scene.types("wait, i will say it")
        await until(lambda: _ended(scene, ["sent", "cancelled", "cancelled"]))
        assert scene.chat() == ["one", "wait, i will say it"]
        await until(lambda: _draft_is(scene, "sent", "taken over"))


async def test_during_typing_the_owner_stops_the_bubble(tmp_path: Path) -> None:
    async with opened(tmp_path, bubble_seconds=600) as scene:
        typed: list[Typing] = []
        card = await _card(scene)
        scene.world.subscribe(lambda e: typed.append(e) if isinstance(e, Typing) and (e.sender_id, e.receiver_id) == (OWNER, ADA) else None)
        scene.tap(card, "Send")
        await until(lambda: typed)
        scene.types("me")
        await until(lambda: _ended(scene, ["sent", "cancelled", "cancelled"]))


async def _ended(scene: Scene, states: list[str]) -> bool:
    return await scene.states() == states


async def _draft_is(scene: Scene, state: str, reason: str) -> bool:
    return [(row["state"], row["reason"]) for row in await scene.rows("drafts")] == [(state, reason)]


async def test_a_send_about_to_go_waits_for_what_is_in_the_inbox_and_then_does_not_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: the tap is decided, the owner's message is in the inbox, and nobody has handled it yet."""
    async with opened(tmp_path) as scene:
        await _card(scene)
        await scene.stop()
        scene.types("myself")
        async with scene.store.begin() as connection:
            (draft,) = await drafts.pending(connection)
            await drafts.change(connection, draft, state="approved")
            await outbox.add(connection, draft, ["one", "two"])
            (waiting,) = scene.api.door.inbox(42).batch(10)
            await inbox.keep(connection, [waiting], utc_now())
            ways, settings = ("bot", "business"), scene.settings
            leaving = await departures.begin_ready(connection, ways, settings, utc_now(), room=8)  # type: ignore[arg-type]
            assert not leaving.begun
            assert not leaving.outlook.ready
            assert leaving.outlook.next_at
        await scene.start()
        await until(lambda: _ended(scene, ["cancelled", "cancelled"]))
        assert scene.chat() == ["myself"]
        await until(lambda: _draft_is(scene, "expired", "taken over"))


async def test_a_takeover_while_a_request_is_in_flight_cancels_what_did_not_go(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        card = await _card(scene)
        scene.fail("sendMessage", "flood", 3600)
        scene.tap(card, "Send")
        await until(lambda: scene.api.calls_of("sendMessage")[-1].get("business_connection_id"))
        scene.types("myself")
        await until(lambda: _ended(scene, ["cancelled"] * 3))
        assert scene.chat() == ["myself"]


async def test_an_update_of_another_chat_holds_nothing_back(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        scene.connects()
        scene.types("to ben", to=BEN)
        async with scene.store.begin() as connection:
            await inbox.keep(connection, scene.api.door.inbox(42).batch(10)[1:], utc_now())
            assert await inbox.unheeded(connection) == {BEN}
            await inbox.keep(connection, scene.api.door.inbox(42).batch(10), utc_now())
            assert await inbox.unheeded(connection) is None  # the connection itself may have changed


async def test_the_contact_takes_the_message_back_before_approval_and_nothing_goes(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        card = await _card(scene)
        scene.world.delete(scene.world.history(OWNER, ADA))
        await until(lambda: labels(card) == [])
        await scene.idle()
        assert [(row["state"], row["reason"]) for row in await scene.rows("drafts")] == [("expired", takeover.DELETED)]
        assert scene.chat() == []
        assert {row["text"] for row in await scene.rows("messages")} == {""}


async def test_one_of_two_messages_taken_back_is_answered_anew_without_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await _card(scene)
        second = scene.whispers("and my password is hunter2")
        await scene.card("hunter2")
        scene.world.delete([second])
        card = await until(lambda: [c for c in scene.cards("hello") if labels(c) and "hunter2" not in c.text])
        assert len(card) == 1
        assert "hunter2" not in str(scene.engine.asked[-1])


async def test_an_edit_of_the_contact_renews_the_card(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        card = await _card(scene)
        scene.world.edit(scene.world.history(OWNER, ADA)[0], text="goodbye rather")
        await scene.card("goodbye rather")
        await until(lambda: labels(card) == [])


async def test_the_owners_edits_and_deletions_of_his_own_messages_are_followed(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        mine = scene.types("helo")
        await until(lambda: _silent(scene))
        scene.world.edit(mine, text="hello")
        await until(lambda: _texts_are(scene, ["hello"]))
        scene.world.delete([mine])
        await until(lambda: _texts_are(scene, [""]))


async def _texts_are(scene: Scene, texts: list[str]) -> bool:
    return [row["text"] for row in await scene.rows("messages")] == texts


async def test_the_owner_typing_the_twins_very_words_is_still_the_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.drafter.cleaned", str)  # of a draft the twin lets no two same bubbles through; the owner's edit may have them
    monkeypatch.setattr("twin.decisions.cleaned", str)
    async with opened(tmp_path, bubble_seconds=600) as scene:
        card = await _card(scene, "ok\nok")
        scene.tap(card, "Send")
        await until(lambda: _ended(scene, ["sent", "waiting"]))
        scene.types("ok")
        await until(lambda: _ended(scene, ["sent", "cancelled"]))
        assert sorted(row["source"] for row in await scene.rows("messages") if row["out"]) == ["business", "twin"]
