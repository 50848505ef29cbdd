"""Telegram Business: the bot answers as the owner in his own chats, through a connection that may change at any time."""

from datetime import timedelta
from pathlib import Path

import pytest
from bot_scene import ADA, BEN, OWNER, RIGHTS, Scene, labels, opened, until

from bot.context import utc_now
from sandbox.world import REPLY_WINDOW_SECONDS, Typing
from twin import sending, silence
from twin.store import drafts, outbox


async def _approved(scene: Scene, words: str = "one\ntwo", *, sender: int = ADA) -> None:
    """A contact wrote to the owner, the card is there, and the owner taps Send."""
    scene.engine.queue.append(words)
    scene.whispers(f"hello from {sender}", sender=sender)
    card = await scene.card(f"hello from {sender}")
    await scene.idle()
    scene.tap(card, "Send")


async def _way_of_each(scene: Scene) -> list[str]:
    return [row["way"] for row in await scene.rows("outbox")]


async def test_an_approved_draft_goes_out_as_the_owner_in_his_own_chat(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        await _approved(scene)
        await until(lambda: scene.chat() == ["one", "two"])
        await scene.idle()
        assert await _way_of_each(scene) == ["business", "business"]
        assert await scene.states() == ["sent", "sent"]
        rows = {row["message_id"]: row for row in await scene.rows("messages")}
        shown = scene.world.history(OWNER, ADA)
        assert [rows[m.ids[OWNER]]["source"] for m in shown] == ["business", "twin", "twin"]
        assert {row["channel"] for row in rows.values()} == {"account"}
        assert len(rows) == 3
        assert (await scene.rows("dialogs"))[0]["silent_until"] is None  # the twin's echo is not the owner
        assert [row["state"] for row in await scene.rows("drafts")] == ["sent"]


async def test_the_owners_edited_words_are_the_owners_and_what_he_answers_is_marked_read(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        scene.whispers("hello")
        card = await scene.card("hello")
        scene.tap(card, "Edit")
        scene.says("my own words", reply_to=await scene.hear("instead"))
        await until(lambda: scene.chat() == ["my own words"])
        await scene.idle()
        assert [row["source"] for row in await scene.rows("messages") if row["out"]] == ["owner"]
        read = await until(lambda: scene.api.calls_of("readBusinessMessage"))
        assert [call["message_id"] for call in read] == [scene.world.history(OWNER, ADA)[0].ids[OWNER]]


async def test_the_owner_is_told_once_of_a_connection_of_its_rights_and_of_its_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        scene.connects()  # said again
        scene.connects(can_read_messages=True)
        await scene.hear("What I may do in your account has changed. I may mark messages as read. I may not answer for you")
        scene.connects(enabled=False)
        await scene.hear("I am not connected to your account any more")
        scene.connects(enabled=False)
        scene.connects()
        await scene.idle()
        told = scene.seen_by(OWNER)
        assert len(told) == 4
        assert told[0] == told[3]
        assert [row["is_enabled"] for row in await scene.rows("connections")] == [True]


async def test_what_changed_while_the_bot_was_down_is_known_at_its_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        await scene.stop()
        scene.connects(enabled=False)
        scene.api.door.inbox(42).drop()  # Telegram keeps updates for a day
        await scene.start()
        await scene.hear("I am not connected to your account any more")
        await scene.stop()
        del scene.world.connections["bc1"]
        await scene.start()
        await scene.idle()
        assert len(scene.seen_by(OWNER)) == 2


async def test_a_connection_made_before_the_bot_knew_is_asked_about_at_its_first_message(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        scene.connects()
        scene.api.door.inbox(42).drop()
        await scene.start()
        await _approved(scene, "good day")
        await until(lambda: scene.chat() == ["good day"])
        assert len(scene.api.calls_of("getBusinessConnection")) == 1
        assert await scene.told("I am connected")


async def test_a_tap_after_the_connection_was_withdrawn_sends_nothing_and_says_why(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        scene.whispers("hello")
        card = await scene.card("hello")
        scene.connects(enabled=False)
        await scene.hear("not connected to your account any more")
        scene.tap(card, "Send")
        await scene.hear("could not be sent to Ada Lovelace: I am not connected to your account")
        await until(lambda: "Not sent, I am not connected to your account" in card.text)
        assert scene.chat() == []


async def test_a_connection_withdrawn_between_the_tap_and_the_request_sends_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        scene.whispers("hello")
        card = await scene.card("hello")
        await scene.idle()
        scene.world.connections["bc1"].enabled = False  # Telegram knows; its update is still on its way
        scene.tap(card, "Send")
        await scene.hear("my connection to your account has ended")
        assert scene.chat() == []
        assert await scene.states() == ["failed"]


async def test_the_right_to_reply_is_followed_live(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        scene.connects(can_read_messages=True)
        await scene.hear("I may not answer for you")
        await _approved(scene)
        await scene.hear("my connection to your account does not allow me to reply")
        scene.connects()
        await scene.hear("has changed. I may answer for you")
        await _approved(scene, "now", sender=BEN)
        await until(lambda: scene.chat(BEN) == ["now"])
        assert scene.chat() == []


async def test_after_24_hours_without_a_word_of_theirs_nothing_goes_and_the_owner_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        scene.whispers("hello")
        card = await scene.card("hello")
        await scene.idle()
        real = scene.world.clock
        scene.world.clock = lambda: real() + REPLY_WINDOW_SECONDS + 60
        scene.tap(card, "Send")
        await scene.hear("they have not written for 24 hours")
        assert scene.chat() == []


# --- unknown outcomes ---


async def test_a_lost_answer_is_settled_by_its_echo_even_among_identical_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.drafter.cleaned", str)  # of a draft the twin lets no two same bubbles through; the owner's edit may have them
    monkeypatch.setattr("twin.decisions.cleaned", str)
    async with opened(tmp_path) as scene:
        await scene.connected()
        scene.fail("sendMessage", "drop_after", skip=2, times=5)  # the two cards are sent first
        for contact in (ADA, BEN):
            scene.engine.queue.append("ok\nok\nok")
            scene.whispers(f"well? {contact}", sender=contact)
        cards = [await scene.card(f"well? {contact}") for contact in (ADA, BEN)]
        await scene.idle()
        for card in cards:
            scene.tap(card, "Send")
        await until(lambda: scene.chat() == scene.chat(BEN) == ["ok", "ok", "ok"])
        await scene.idle()
        assert await scene.states() == ["sent"] * 6
        assert not await scene.told("I cannot tell")
        for contact in (ADA, BEN):
            ids = [row["sent_message_id"] for row in await scene.rows("outbox") if row["dialog_id"] == contact]
            assert ids == [m.ids[OWNER] for m in scene.world.history(OWNER, contact)[1:]]


async def test_an_echo_that_comes_before_the_answer_settles_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        scene.whispers("hello")
        card = await scene.card("hello")
        await scene.idle()
        scene.fail("sendMessage", "no_reply")  # the message is there, its echo comes, the answer does not
        scene.tap(card, "Send")
        await until(lambda: scene.chat() == ["answer 1"])
        await until(lambda: _all(scene, "sent"))
        assert await scene.states() == ["sent"]


async def _all(scene: Scene, state: str) -> bool:
    return set(await scene.states()) == {state}


async def test_a_send_without_an_echo_is_asked_about_and_never_repeated_by_itself(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sending, "ECHO_SECONDS", 0.3)
    async with opened(tmp_path) as scene:
        await scene.connected()
        scene.engine.queue = ["one\ntwo"]
        scene.whispers("hello")
        card = await scene.card("hello")
        await scene.idle()
        scene.fail("sendMessage", "drop_before")
        scene.tap(card, "Send")
        question = await scene.hear("I cannot tell whether this reached Ada Lovelace")
        assert await scene.states() == ["uncertain", "waiting"]
        assert scene.chat() == []
        scene.tap(question, "Send again")
        await until(lambda: scene.chat() == ["one", "two"])
        await scene.idle()
        assert await scene.states() == ["sent", "sent"]


async def test_a_late_echo_answers_the_question_for_the_owner(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sending, "ECHO_SECONDS", 0.2)
    async with opened(tmp_path) as scene:
        await scene.connected()
        scene.whispers("hello")
        card = await scene.card("hello")
        await scene.idle()
        scene.fail("sendMessage", "drop_before")
        scene.tap(card, "Send")
        question = await scene.hear("I cannot tell")
        buttons = question.reply_markup
        # It had reached Telegram after all, and only its echo was held up.
        made = scene.world.connections["bc1"]
        scene.world.send(OWNER, ADA, "answer 1", connection=made)
        await scene.hear("It did reach Ada Lovelace")
        assert await scene.states() == ["sent"]
        question.reply_markup = buttons
        scene.tap(question, "Send again")
        await scene.idle()
        assert scene.chat() == ["answer 1"]


async def test_the_echo_of_what_the_owner_said_had_arrived_is_not_taken_for_the_next_of_the_same_text(  # type: ignore[no-untyped-def]
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(sending, "ECHO_SECONDS", 0.2)
    monkeypatch.setattr("bot.drafter.cleaned", str)  # of a draft the twin lets no two same bubbles through; the owner's edit may have them
    monkeypatch.setattr("twin.decisions.cleaned", str)
    async with opened(tmp_path, bubble_seconds=600) as scene:
        await scene.connected()
        scene.engine.queue = ["ok\nok"]
        scene.whispers("hello")
        card = await scene.card("hello")
        await scene.idle()
        scene.fail("sendMessage", "drop_before")
        scene.tap(card, "Send")
        scene.tap(await scene.hear("I cannot tell"), "It arrived")
        await until(lambda: _first_is(scene, "sent"))
        late = scene.world.send(OWNER, ADA, "ok", connection=scene.world.connections["bc1"])
        await until(lambda: _has_id(scene, late.ids[OWNER]))
        assert await scene.states() == ["sent", "waiting"]
        assert [row["message_id"] for row in await scene.rows("messages") if row["out"]] == [late.ids[OWNER]]


async def _first_is(scene: Scene, state: str) -> bool:
    return (await scene.states())[0] == state


async def _has_id(scene: Scene, message_id: int) -> bool:
    return (await scene.rows("outbox"))[0]["sent_message_id"] == message_id


async def test_a_flood_limit_delays_only_its_own_chat(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        cards = []
        for contact in (ADA, BEN):
            scene.whispers(f"well? {contact}", sender=contact)
            cards.append(await scene.card(f"well? {contact}"))
        await scene.idle()
        scene.fail("sendMessage", "flood", 2)
        scene.tap(cards[0], "Send")
        await until(lambda: _first_held(scene))
        scene.tap(cards[1], "Send")
        await until(lambda: scene.chat(BEN))
        assert scene.chat() == []
        await until(lambda: scene.chat() == ["answer 1"])


async def _first_held(scene: Scene) -> bool:
    rows = await scene.rows("outbox")
    return bool(rows and rows[0]["not_before_at"])


# --- what a crash leaves ---


async def _left(scene: Scene, state: str, words: str = "one\ntwo", **values: object) -> None:
    """Stop the bot, and leave the first of two approved bubbles in this state."""
    scene.whispers("hello")
    await scene.card("hello")
    await scene.idle()
    await scene.stop()
    async with scene.store.begin() as connection:
        (draft,) = await drafts.pending(connection)
        await drafts.change(connection, draft, state="sending", text=words)
        await outbox.add(connection, draft, words.split("\n"))
        first = (await outbox.of_draft(connection, draft.id))[0]
        await outbox.move(connection, first, state, tried_at=utc_now(), **values)  # type: ignore[arg-type]


async def test_a_crash_in_a_business_send_is_settled_by_the_echo_that_waits_at_telegram(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        await _left(scene, "sending", way="business")
        scene.world.send(OWNER, ADA, "one", connection=scene.world.connections["bc1"])
        await scene.start()
        await until(lambda: scene.chat() == ["one", "two"])
        await scene.idle()
        assert await scene.states() == ["sent", "sent"]
        assert not await scene.told("I cannot tell")


async def test_a_crash_in_a_business_send_that_never_left_is_asked_about(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sending, "ECHO_SECONDS", 0.3)
    async with opened(tmp_path) as scene:
        await scene.connected()
        for_owner = len(scene.seen_by(OWNER))
        await _left(scene, "sending", way="business")
        await scene.start()
        await scene.hear("I cannot tell")
        assert scene.chat() == []
        assert await scene.states() == ["uncertain", "waiting"]
        assert len(scene.seen_by(OWNER)) == for_owner + 2  # the card and the question


async def test_unheard_and_retracting_bubbles_go_on_after_a_crash(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        await _left(scene, "unheard", "one", way="business", not_before_at=utc_now() - timedelta(minutes=5))
        sent = scene.world.send(OWNER, ADA, "one", connection=scene.world.connections["bc1"])
        await scene.start()
        await until(lambda: _all(scene, "sent"))
        await scene.stop()
        async with scene.store.begin() as connection:
            (bubble,) = await outbox.in_state(connection, "sent")
            assert bubble.sent_message_id == sent.ids[OWNER]
            await outbox.move(connection, bubble, "retracting")
        await scene.start()
        await until(lambda: scene.chat() == [])
        await until(lambda: _all(scene, "retracted"))


# --- taking back, typing, silence ---


async def _retract(scene: Scene) -> int:
    async with scene.store.begin() as connection:
        draft = await drafts.newest(connection, "account", ADA)
        assert draft
        return await sending.retract(connection, draft, utc_now())


async def test_an_answer_is_taken_back_for_both_sides_and_what_waits_is_cancelled(tmp_path: Path) -> None:
    async with opened(tmp_path, bubble_seconds=600) as scene:
        await scene.connected()
        await _approved(scene)
        await until(lambda: scene.chat() == ["one"])
        await until(lambda: _states_are(scene, ["sent", "waiting"]))
        assert await _retract(scene) == 2
        assert await _retract(scene) == 0
        scene.says("/approve 999")  # whoever takes back rings
        await until(lambda: scene.chat() == [])
        await until(lambda: _states_are(scene, ["retracted", "cancelled"]))
        assert [(row["state"], row["reason"]) for row in await scene.rows("drafts")] == [("expired", "taken back")]
        assert [(row["text"], row["deleted_at"] is None) for row in await scene.rows("messages") if row["out"]] == [("", False)]


async def _states_are(scene: Scene, states: list[str]) -> bool:
    return await scene.states() == states


async def test_without_the_right_to_delete_it_stays_and_the_owner_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        await _approved(scene, "one")
        await until(lambda: _all(scene, "sent"))
        scene.connects(**{**RIGHTS, "can_delete_sent_messages": False})
        await scene.hear("has changed")
        assert await _retract(scene) == 1
        scene.says("/approve 999")  # whoever takes back rings
        await scene.hear("I could not take back what went to Ada Lovelace")
        assert await scene.states() == ["sent"]
        assert [row["state"] for row in await scene.rows("drafts")] == ["sent"]
        assert scene.chat() == ["one"]


async def test_what_is_in_flight_is_taken_back_as_soon_as_it_is_there(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        scene.whispers("hello")
        card = await scene.card("hello")
        await scene.idle()
        scene.fail("sendMessage", "delay", 1)
        scene.tap(card, "Send")
        await until(lambda: _all(scene, "sending"))
        assert await _retract(scene) == 1
        await until(lambda: _all(scene, "retracted"))
        assert scene.chat() == []


async def test_typing_is_shown_to_the_contact_until_the_bubble_goes(tmp_path: Path) -> None:
    async with opened(tmp_path, bubble_seconds=1.0) as scene:
        typed = []
        scene.world.subscribe(
            lambda event: typed.append(len(scene.chat())) if isinstance(event, Typing) and event.receiver_id == ADA else None
        )
        await scene.connected()
        await _approved(scene)
        await until(lambda: scene.chat() == ["one", "two"])
        assert set(typed) == {1}


async def test_nothing_goes_between_pause_and_resume_but_the_owners_own_chat(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await scene.connected()
        scene.whispers("hello")
        card = await scene.card("hello")
        await scene.idle()
        async with scene.store.begin() as connection:
            await silence.begin(connection, utc_now())
        scene.tap(card, "Send")
        await until(lambda: _all(scene, "waiting"))
        scene.says("are you there?")
        await scene.hear("answer 2")
        assert scene.chat() == []
        await until(lambda: labels(card) == [])
        async with scene.store.begin() as connection:
            await silence.end(connection)
        scene.says("go on")  # whoever ends the silence rings
        await until(lambda: scene.chat() == ["answer 1"])
