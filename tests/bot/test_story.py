"""The story: a contact writes, a card appears, the owner decides, bubbles arrive."""

from pathlib import Path

import pytest
from bot_scene import ADA, BEN, BOT, OWNER, UNREACHABLE, Scene, data_of, labels, opened, until

from sandbox.samples import ONE_PIXEL_PNG
from sandbox.world import Media, Message
from twin.errors import EngineError


async def test_a_message_becomes_a_card_and_send_delivers_its_bubbles(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.queue = ["not much\nyou?"]
        scene.writes("hey, what are you up to tonight?")
        card = await scene.card("hey, what")
        assert labels(card) == ["Send", "Edit", "Skip", "Another", "Shorter", "Warmer", "Auto from now on"]
        assert "Ada Lovelace" in card.text
        assert "• not much\n• you?" in card.text
        assert scene.seen_by(ADA) == []
        scene.tap(card, "Send")
        await until(lambda: "Sent:" in card.text)
        assert scene.seen_by(ADA) == ["not much", "you?"]
        assert labels(card) == []
        await scene.idle()
        assert scene.from_bot(OWNER) == [card]
        sent = [row for row in await scene.rows("messages") if row["out"]]
        assert [(row["text"], row["source"], row["channel"]) for row in sent] == [("not much", "twin", "bot"), ("you?", "twin", "bot")]


async def test_the_engine_is_asked_with_the_conversation_and_the_names(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("hello")
        scene.tap(await scene.card("hello"), "Send")
        await scene.hear("answer 1", account=ADA)
        scene.writes("and now?")
        await scene.card("and now?")
        turns = scene.engine.asked[-1]
        assert [(turn.role, turn.content) for turn in turns] == [
            ("system", "You are Olga, chatting with Ada Lovelace."),
            ("user", "hello"),
            ("assistant", "answer 1"),
            ("user", "and now?"),
        ]


async def test_a_burst_makes_one_draft(tmp_path: Path) -> None:
    async with opened(tmp_path, burst_seconds=0.3) as scene:
        for text in ("hey", "are you there", "?"):
            scene.writes(text)
        card = await scene.card()
        assert "hey\nare you there\n?" in card.text
        await scene.idle()
        assert len(scene.cards()) == 1
        assert scene.engine.said == 1


async def test_edit_sends_what_the_owner_typed_one_bubble_a_line(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("coming?")
        card = await scene.card("coming?")
        scene.tap(card, "Edit")
        question = await scene.hear("instead")
        scene.says("yes!\n\n  in C:\\new at 9", reply_to=question)
        await until(lambda: "Sent:" in card.text)
        assert scene.seen_by(ADA) == ["yes!", "in C:\\new at 9"]
        assert {row["source"] for row in await scene.rows("messages") if row["out"]} == {"owner"}
        (decision,) = await scene.rows("decisions")
        assert (decision["action"], decision["draft_text"]) == ("edit", "answer 1")


@pytest.mark.parametrize("way", ["plain", "reply to the card"])
async def test_an_edit_also_takes_the_next_plain_text_and_a_reply_to_the_card(tmp_path: Path, way: str) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("coming?")
        card = await scene.card("coming?")
        if way == "plain":
            scene.tap(card, "Edit")
            await scene.hear("instead")
            await until(lambda: _rows(scene, "prompts"))
        scene.says("on my way", reply_to=None if way == "plain" else card)
        await scene.hear("on my way", account=ADA)
        await scene.idle()
        assert scene.engine.said == 1


async def _rows(scene: Scene, table: str) -> list[dict[str, object]]:
    return await scene.rows(table)


async def test_cancel_ends_an_edit_and_the_draft_still_waits(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("coming?")
        card = await scene.card("coming?")
        scene.tap(card, "Edit")
        await until(lambda: _rows(scene, "prompts"))
        scene.says("/cancel")
        await scene.hear("The draft stays as it was.")
        scene.says("what do you think?")
        await scene.hear("answer 2")
        assert scene.seen_by(ADA) == []
        scene.tap(card, "Send")
        await scene.hear("answer 1", account=ADA)


async def test_another_puts_new_words_into_the_same_card_up_to_the_limit(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("coming?")
        card = await scene.card("answer 1")
        scene.tap(card, "Another")
        await until(lambda: "answer 2" in card.text)
        assert "variant 2 of 3" in card.text
        assert "answer 1" not in card.text
        scene.tap(card, "Another")
        await until(lambda: "answer 3" in card.text)
        assert labels(card) == ["Send", "Edit", "Skip", "Auto from now on"]
        scene.tap(card, "Send")
        await scene.hear("answer 3", account=ADA)
        actions = [(row["action"], row["draft_text"]) for row in await scene.rows("decisions")]
        assert actions == [("another", "answer 1"), ("another", "answer 2"), ("send", "answer 3")]
        assert len(scene.cards()) == 1


async def test_another_asks_again_when_the_engine_repeats_itself(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.queue = ["same", "same", "different"]
        scene.writes("coming?")
        card = await scene.card("same")
        scene.tap(card, "Another")
        await until(lambda: "different" in card.text)


async def test_another_that_says_the_same_again_is_said_in_words_and_is_no_variant(tmp_path: Path) -> None:
    """Upper case and spaces make no other answer, nor does one that was shown before."""
    async with opened(tmp_path) as scene:
        scene.engine.queue = ["same", "different", "Same ", "different"]
        scene.writes("coming?")
        card = await scene.card("same")
        scene.tap(card, "Another")
        await until(lambda: "different" in card.text)
        scene.tap(card, "Another")
        await until(lambda: "nothing else came" in card.text)
        assert "different" in card.text
        assert "variant 2 of 3" in card.text
        assert "Another" in labels(card)
        scene.tap(card, "Another")
        await until(lambda: "variant 3 of 3" in card.text)
        assert "nothing else came" not in card.text
        scene.tap(card, "Send")
        await scene.hear("answer 5", account=ADA)


@pytest.mark.parametrize(("wish", "words"), [("Shorter", "as long as it was"), ("Warmer", "no.")])
async def test_a_wish_that_is_not_granted_is_said_in_words(tmp_path: Path, wish: str, words: str) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.queue = ["I come at nine", *[f"{words} {i}" for i in range(4)]]
        scene.writes("coming?")
        card = await scene.card("I come at nine")
        scene.tap(card, wish)
        await until(lambda: f"nothing {wish.lower()} came" in card.text)
        assert "I come at nine" in card.text
        assert "variant" not in card.text
        scene.tap(card, "Send")
        await scene.hear("I come at nine", account=ADA)


async def test_skip_sends_nothing_and_undo_brings_it_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("ok")
        card = await scene.card("answer 1")
        scene.tap(card, "Skip")
        await until(lambda: labels(card) == ["Undo"])
        assert "Skipped" in card.text
        scene.tap(card, "Undo")
        await until(lambda: "Send" in labels(card))
        scene.tap(card, "Send")
        await scene.hear("answer 1", account=ADA)
        assert [row["action"] for row in await scene.rows("decisions")] == ["skip", "undo", "send"]


async def test_undo_is_gone_when_something_newer_came(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("ok")
        card = await scene.card("answer 1")
        scene.tap(card, "Skip")
        await until(lambda: labels(card) == ["Undo"])
        undo = card.reply_markup
        scene.writes("wait, one more thing")
        await scene.card("one more thing")
        await until(lambda: labels(card) == [])
        card.reply_markup = undo  # a phone that still shows the button
        scene.tap(card, "Undo")
        await scene.idle()
        assert [row["state"] for row in await scene.rows("drafts")] == ["rejected", "pending"]


async def test_a_newer_message_supersedes_the_card(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("coming?")
        old = await scene.card("answer 1")
        buttons = old.reply_markup
        scene.engine.down = UNREACHABLE
        scene.writes("never mind, stay home")
        await until(lambda: "Superseded by a newer message" in old.text)
        assert labels(old) == []
        old.reply_markup = buttons
        scene.tap(old, "Send")
        await until(lambda: scene.api.calls_of("answerCallbackQuery"))
        assert scene.seen_by(ADA) == []
        scene.engine.down = None
        new = await scene.card("answer 2")
        assert "coming?\nnever mind, stay home" in new.text
        scene.tap(new, "Send")
        await scene.hear("answer 2", account=ADA)


async def test_the_card_of_a_newer_message_replaces_the_older_one(tmp_path: Path) -> None:
    """Five messages leave one card of Ada's, and Ben's, and the one that the owner decided on."""
    async with opened(tmp_path) as scene:
        scene.writes("for you", sender=BEN)
        await scene.card("for you")
        scene.writes("first")
        first = await scene.card("first")
        scene.tap(first, "Skip")
        await until(lambda: labels(first) == ["Undo"])
        for number in range(5):
            scene.writes(f"message {number}")
            await scene.card(f"message {number}")
        await until(lambda: len(scene.cards()) == 3)
        await scene.idle()
        assert [card.text.split("\n")[0].split(" · ")[0] for card in scene.cards()] == ["Ben", "Ada Lovelace", "Ada Lovelace"]
        assert "Skipped" in first.text
        assert "message 4" in scene.cards()[-1].text
        await scene.stop()
        await scene.start()
        await scene.idle()
        assert len(scene.cards()) == 3


async def test_a_card_that_telegram_does_not_let_go_stays_and_holds_nothing_up(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("first")
        old = await scene.card("first")
        scene.fail("deleteMessage", "error", [400, "Bad Request: message can't be deleted for everyone"])
        scene.writes("second")
        new = await scene.card("second")
        await until(lambda: _settled(scene))
        assert "Superseded" in old.text
        assert scene.cards() == [old, new]
        assert len(scene.api.calls_of("deleteMessage")) == 1


async def _settled(scene: Scene) -> bool:
    """The older card is dealt with, whatever came of it."""
    return (await scene.rows("drafts"))[0]["is_replaced"]


async def test_words_typed_while_a_newer_message_came_wait_on_a_new_card(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("coming?")
        scene.tap(await scene.card("answer 1"), "Edit")
        question = await scene.hear("instead")
        scene.writes("it is cancelled!")
        await scene.card("answer 2")
        scene.says("yes, at nine", reply_to=question)
        await scene.hear("Your words are on the new card")
        card = await scene.card("yes, at nine")
        assert "it is cancelled!" in card.text
        assert scene.seen_by(ADA) == []
        scene.tap(card, "Send")
        await scene.hear("yes, at nine", account=ADA)
        await scene.idle()
        assert {row["source"] for row in await scene.rows("messages") if row["out"]} == {"owner"}


async def test_words_edited_by_the_contact_are_drafted_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        message = scene.writes("see you at 8")
        old = await scene.card("answer 1")
        scene.world.edit(message, text="see you at 9")
        new = await scene.card("see you at 9")
        await until(lambda: scene.cards() == [new])
        assert "Superseded" in old.text
        await scene.idle()
        assert scene.engine.asked[-1][-1].content == "see you at 9"
        (row,) = await scene.rows("messages")
        assert row["text"] == "see you at 9"


async def test_a_double_tap_sends_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("coming?")
        card = await scene.card("answer 1")
        buttons = card.reply_markup
        scene.tap(card, "Send")
        scene.tap(card, "Send")
        await until(lambda: "Sent:" in card.text)
        card.reply_markup = buttons
        for label in ("Send", "Skip", "Another", "Edit"):
            scene.tap(card, label)
        await scene.idle()
        assert scene.seen_by(ADA) == ["answer 1"]
        assert [row["action"] for row in await scene.rows("decisions")] == ["send"]


async def test_a_tap_on_a_variant_that_is_no_longer_shown_sends_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("coming?")
        card = await scene.card("answer 1")
        old = card.reply_markup
        scene.tap(card, "Another")
        await until(lambda: "answer 2" in card.text)
        new, card.reply_markup = card.reply_markup, old
        scene.tap(card, "Send")
        await scene.idle()
        assert scene.seen_by(ADA) == []
        card.reply_markup = new
        scene.tap(card, "Send")
        await scene.hear("answer 2", account=ADA)


async def test_media_are_named_and_answered(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("look", media=Media("photo", ONE_PIXEL_PNG, "image/png", width=1, height=1))
        card = await scene.card("[photo] look")
        assert "Send" in labels(card)
        (row,) = await scene.rows("messages")
        assert (row["kind"], row["text"]) == ("photo", "look")


async def test_text_arrives_as_typed(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.world.account(ADA).first_name, scene.world.account(ADA).last_name = "<b>", "&amp; *_`[x](http://y)"
        scene.engine.queue = ["<i>no</i> & *yes* _maybe_ `x`\n</blockquote>"]
        scene.writes("<script>alert(1)</script> **bold** &lt; [a](b)")
        card = await scene.card()
        assert "<b> &amp; *_`[x](http://y)" in card.text
        assert "<script>alert(1)</script> **bold** &lt; [a](b)" in card.text
        scene.tap(card, "Edit")
        question = await scene.hear("instead")
        assert "<b> &amp; *_`[x](http://y)" in question.text
        scene.tap(card, "Send")
        await until(lambda: "Sent:" in card.text)
        assert scene.seen_by(ADA) == ["<i>no</i> & *yes* _maybe_ `x`", "</blockquote>"]
        assert [m.entities for m in scene.from_bot(ADA)] == [[], []]


async def test_no_words_are_tried_again_and_then_left_to_the_owner(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.queue = ["", " \n "]
        scene.writes("hm")
        card = await scene.card("No words came.")
        assert labels(card) == ["Edit", "Skip", "Another"]
        scene.says("/approve")
        await scene.hear("There are no words to send.")
        scene.tap(card, "Another")
        await until(lambda: "answer 3" in card.text)
        assert "Send" in labels(card)


async def test_a_dead_engine_is_told_once_and_what_waited_is_answered(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.down = UNREACHABLE
        scene.writes("hello?")
        told = await scene.hear("I cannot answer at the moment")
        assert told.text == (
            "I cannot answer at the moment: The engine cannot be reached. Start it with `twin serve`. "
            "Messages wait and are answered when the engine is back."
        )
        scene.writes("anyone?", sender=BEN)
        scene.says("/status")
        assert "does not answer" in (await scene.hear("Engine")).text
        await until(lambda: len(scene.engine.asked) >= 2, 8)
        scene.engine.down = None
        await scene.card("hello?", number=1)
        await until(lambda: scene.cards("anyone?"), 8)
        await scene.idle()
        assert len([text for text in scene.seen_by(OWNER) if "I cannot answer" in text]) == 1
        assert len([text for text in scene.seen_by(OWNER) if "answers again" in text]) == 1


async def test_a_prompt_that_the_engine_refuses_does_not_hold_up_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twin.drafting.LONGEST_PAUSE", 0.05)
    async with opened(tmp_path) as scene:
        generate = scene.engine.generate

        async def refusing(turns, sampling):  # type: ignore[no-untyped-def]
            if "poison" in turns[-1].content:
                raise EngineError("The engine refused the prompt.", kind="refused")
            return await generate(turns, sampling)

        scene.engine.generate = refusing  # type: ignore[method-assign]
        scene.writes("poison")
        for i in range(4):
            scene.writes(f"question {i}", sender=BEN)
            await until(lambda i=i: scene.cards(f"question {i}"))
        card = await scene.card("The engine refused the prompt.")
        assert labels(card) == ["Edit", "Skip", "Another"]


async def test_a_bug_in_the_engine_is_an_outage_and_not_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twin.drafting.LONGEST_PAUSE", 0.05)
    async with opened(tmp_path) as scene:
        scene.engine.queue = [RuntimeError("secret words"), RuntimeError("secret words")]
        scene.writes("hello")
        await scene.card("answer 3")
        assert not any("secret" in text for text in scene.seen_by(OWNER))
        assert any("RuntimeError" in text for text in scene.seen_by(OWNER))


async def test_typing_is_shown_to_the_owner_while_it_thinks(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.seconds = 0.2
        scene.writes("hello")
        await scene.card("hello")
        assert {(call["chat_id"], call["action"]) for call in scene.api.calls_of("sendChatAction")} == {(OWNER, "typing")}


async def test_a_message_that_comes_while_it_thinks_is_in_the_draft(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.seconds = 0.3
        scene.writes("hello")
        await until(lambda: scene.engine.asked)
        scene.writes("i mean goodbye")
        card = await scene.card("i mean goodbye")
        await scene.idle()
        assert scene.cards() == [card]
        assert scene.engine.asked[-1][-1].content == "hello\ni mean goodbye"


async def test_a_message_between_two_bubbles_is_answered_too(tmp_path: Path) -> None:
    async with opened(tmp_path, bubble_seconds=0.4) as scene:
        scene.engine.queue = ["one\ntwo"]
        scene.writes("hello")
        scene.tap(await scene.card("hello"), "Send")
        await scene.hear("one", account=ADA)
        scene.writes("and what about tomorrow?")
        card = await scene.card("and what about tomorrow?")
        assert scene.seen_by(ADA) == ["one", "two"]
        assert [turn.content for turn in scene.engine.asked[-1][1:]] == ["hello", "one\ntwo", "and what about tomorrow?"]
        assert "hello" not in card.text


async def test_a_draft_expires(tmp_path: Path) -> None:
    async with opened(tmp_path, expire_hours=0.5 / 3600) as scene:
        scene.writes("hello")
        card = await scene.card("hello")
        await until(lambda: "Expired" in card.text)
        assert labels(card) == []
        scene.says("/approve 1")
        await scene.hear("Draft 1 is expired already (timed out).")
        assert scene.seen_by(ADA) == []


async def test_the_owner_talks_with_the_twin(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.queue = ["fine\nand you?"]
        scene.says("how are you?")
        await scene.hear("and you?")
        await scene.idle()
        assert scene.seen_by(OWNER) == ["fine", "and you?"]
        (dialog,) = await scene.rows("dialogs")
        assert dialog["excluded"]
        rows = [(row["out"], row["source"], row["text"]) for row in await scene.rows("messages")]
        assert rows == [(False, "received", "how are you?"), (True, "twin", "fine"), (True, "twin", "and you?")]
        assert await scene.rows("decisions") == []


async def test_a_contact_who_floods_gets_no_more_drafts_than_the_limit(tmp_path: Path) -> None:
    async with opened(tmp_path, drafts_per_hour=2) as scene:
        for i in range(4):
            scene.writes(f"message {i}")
            await until(lambda i=i: scene.cards(f"message {i}") if i < 2 else _held_back(scene, i))
        assert scene.engine.said == 2
        assert len(await scene.rows("messages")) == 4
        scene.writes("hi", sender=BEN)
        await scene.card("hi")


async def _held_back(scene: Scene, i: int) -> bool:
    due = await scene.rows("replies_due")
    return (
        len(await scene.rows("messages")) == i + 1
        and bool(due)
        and (due[0]["due_at"] - (await scene.rows("messages"))[-1]["sent_at"]).seconds > 600
    )


async def test_a_contact_who_is_off_is_kept_but_not_drafted(tmp_path: Path) -> None:
    async with opened(tmp_path, default_mode="off") as scene:
        scene.writes("hello")
        await until(lambda: _rows(scene, "messages"))
        await scene.idle()
        assert scene.engine.asked == []
        assert scene.world.history(OWNER, BOT)[1:] == []


async def test_it_stops_within_two_seconds(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.seconds = 30
        scene.writes("hello")
        await until(lambda: scene.engine.asked)
        assert await scene.stop() < 2


# --- buttons of more than two days, whose message Telegram does not send along any more ---


def tap_of_old(scene: Scene, message: Message, label: str) -> None:
    owner = {"id": OWNER, "first_name": "Olga"}
    old = {"chat": {**owner, "type": "private"}, "message_id": message.ids[BOT], "date": 0}
    tap = {"id": "1", "from": {**owner, "is_bot": False}, "chat_instance": "1", "message": old, "data": data_of(message, label)}
    scene.api.push_update(BOT, "callback_query", tap)


async def test_an_old_card_still_asks_whether_he_is_sure(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("coming?")
        card = await scene.card("coming?")
        tap_of_old(scene, card, "Auto from now on")
        await until(lambda: labels(card) == ["Yes, auto", "No"])
        tap_of_old(scene, card, "Yes, auto")
        await scene.hear("answer 1", account=ADA)


async def test_an_old_menu_answers_with_a_new_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("coming?")
        await scene.card("coming?")
        scene.says("/mode")
        menu = await scene.hear("How contacts are answered")
        tap_of_old(scene, menu, next(label for label in labels(menu) if "Ada" in label))
        page = await scene.hear("answers go by themselves")
        tap_of_old(scene, page, "Shadow")
        await until(lambda: any("✓ Shadow" in labels(m) for m in scene.from_bot(OWNER)))


async def test_an_old_question_loses_its_buttons(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("coming?")
        card = await scene.card("coming?")
        scene.fail("sendMessage", "drop_after")
        scene.tap(card, "Send")
        question = await scene.hear("I cannot tell whether this reached")
        tap_of_old(scene, question, "It arrived")
        await until(lambda: labels(question) == [])
