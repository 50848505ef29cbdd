"""Cards of automatic answers, of what was held back, and the taps that change how a contact is answered."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from auto_rows import answered, drafted, wrote
from bot_scene import ADA, BEN, EVE, OWNER, Scene, data_of, labels, opened, until

from bot import desk
from bot.schedule import local_zone
from twin.caution import describe
from twin.settings import Auto
from twin.store import drafts

LATER = 300.0  # seconds: it does not go during the test


async def _row(scene: Scene, table: str, **where: Any) -> dict[str, Any]:
    return next(row for row in await scene.rows(table) if all(row[key] == value for key, value in where.items()))


async def _actions(scene: Scene) -> list[str]:
    return [row["action"] for row in await scene.rows("decisions")]


def _toasts(scene: Scene) -> list[str]:
    return [call.get("text", "") for call in scene.api.calls_of("answerCallbackQuery")]


async def test_undo_takes_back_what_is_sent_and_what_is_not(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False, bubble_seconds=LATER) as scene:
        await wrote(scene, "coming?")
        await answered(scene, "yes\nat nine")
        await scene.start()
        await scene.hear("yes", account=ADA)
        card = await scene.card("coming?")
        await until(lambda: "1 of 2 delivered" in card.text)
        assert "Answering by itself:" in card.text
        assert labels(card) == ["Undo", "Stop auto here", "Pause all"]
        buttons = card.reply_markup
        scene.tap(card, "Undo")
        await until(lambda: "back:" in card.text)
        assert labels(card) == []
        states = [row["state"] for row in await scene.rows("outbox")]
        assert states[0] in ("retracting", "retracted")
        assert states[1] == "cancelled"
        assert (await _row(scene, "drafts"))["reason"] == "taken back"
        card.reply_markup = buttons  # a phone that still shows them
        scene.tap(card, "Undo")
        await until(lambda: any("expired already (taken back)" in toast for toast in _toasts(scene)))
        assert await _actions(scene) == ["auto", "undo"]
        assert "at nine" not in scene.seen_by(ADA)


async def test_undo_goes_away_when_its_time_is_over_and_takes_nothing_back_any_more(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "coming?")
        await answered(scene, "yes", undo_seconds=1.5)
        await scene.start()
        card = await scene.card("coming?")
        buttons = card.reply_markup
        assert data_of(card, "Undo")
        await until(lambda: labels(card) == ["Stop auto here", "Pause all"])
        await until(lambda: "Answered by itself:" in card.text)
        card.reply_markup = buttons
        scene.tap(card, "Undo")
        await until(lambda: any("too late" in toast for toast in _toasts(scene)))
        assert (await _row(scene, "drafts"))["state"] == "sent"
        assert scene.seen_by(ADA) == ["yes"]


async def test_undo_survives_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "coming?")
        await answered(scene, "yes", in_seconds=LATER)
        await scene.start()
        card = await scene.card("coming?")
        await scene.stop()
        await scene.start()
        scene.tap(card, "Undo")
        await until(lambda: "Taken back:" in card.text)
        assert scene.seen_by(ADA) == []


async def test_stop_auto_here_makes_a_card_of_what_has_not_begun(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "coming?")
        await answered(scene, "yes\nat nine", in_seconds=LATER)
        await scene.start()
        card = await scene.card("coming?")
        scene.tap(card, "Stop auto here")
        await until(lambda: "Draft:" in card.text)
        assert f"Held back: {describe('switched')}." in card.text
        assert (await _row(scene, "dialogs", dialog_id=ADA))["mode"] == "approve"
        scene.tap(card, "Send")
        await until(lambda: "Sent:" in card.text)
        assert scene.seen_by(ADA) == ["yes", "at nine"]
        assert len(scene.cards()) == 1


async def test_an_old_stop_button_does_not_switch_on_who_was_switched_off(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "coming?")
        await answered(scene, "yes")
        await scene.start()
        card = await scene.card("coming?")
        await until(lambda: "Answered by itself:" in card.text)
        buttons = card.reply_markup
        scene.says("/mode @ada off")
        await scene.hear("Ada Lovelace: off.")
        card.reply_markup = buttons
        scene.tap(card, "Stop auto here")
        await until(lambda: labels(card) == ["Undo"])
        assert (await _row(scene, "dialogs", dialog_id=ADA))["mode"] == "off"


async def test_approve_takes_the_newest_draft_that_has_words(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "coming?")
        await drafted(scene, "yes")
        await wrote(scene, "ok", dialog_id=BEN, name="Ben")
        await drafted(scene, "", dialog_id=BEN, intent="rest", reason="you usually let such a message rest (7 of 9)")
        await scene.start()
        for asked in ("coming?", "ok"):
            await scene.card(asked)  # only what the owner could see can be meant
        scene.says("/approve")
        await scene.hear("Draft 1 is on its way to Ada Lovelace.")
        await until(lambda: scene.seen_by(ADA) == ["yes"])


async def test_pause_from_an_automatic_card_holds_back_what_has_not_begun_and_resume_offers_it(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "coming?")
        await answered(scene, "yes", in_seconds=LATER)
        await wrote(scene, "hello", dialog_id=BEN, name="Ben")
        await drafted(scene, "hi", dialog_id=BEN)
        await scene.start()
        card, other = await scene.card("coming?"), await scene.card("hello")
        scene.tap(card, "Pause all")
        await until(lambda: "Resume" in labels(card) and "Resume" in labels(other))
        assert f"Held back: {describe('paused')}." in card.text
        assert "all is paused" in other.text
        assert (await _row(scene, "drafts", dialog_id=ADA))["state"] == "pending"
        assert (await _row(scene, "dialogs", dialog_id=ADA))["mode"] == "auto"
        scene.tap(other, "Resume")
        await until(lambda: "Resume" not in labels(card) + labels(other))
        scene.tap(card, "Send")
        await until(lambda: scene.seen_by(ADA) == ["yes"])


async def test_pause_and_resume_say_what_they_did(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.says("/resume")
        await scene.hear("Nothing is paused.")
        scene.says("/pause")
        said = await scene.hear("All is paused: nothing goes out")
        scene.says("/pause")
        await scene.hear("All is paused already.")
        scene.says("/status")
        status = await scene.hear("All is paused: just now. /resume goes on")
        assert labels(status) == ["Resume"]
        scene.tap(said, "Resume")
        await until(lambda: said.text.startswith("Going on.") and labels(said) == [])
        scene.tap(status, "Resume")
        await until(lambda: labels(status) == ["Pause all"])
        assert not [row for row in await scene.rows("facts") if row["name"] == "silence"]


async def test_auto_from_now_on_asks_back_and_then_sends_and_sets_the_mode(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("coming?")
        card = await scene.card("answer 1")
        scene.tap(card, "Auto from now on")
        await until(lambda: labels(card) == ["Yes, auto", "No"])
        scene.tap(card, "No")
        await until(lambda: "Send" in labels(card))
        assert (await _row(scene, "dialogs", dialog_id=ADA))["mode"] is None
        scene.tap(card, "Auto from now on")
        await until(lambda: labels(card) == ["Yes, auto", "No"])
        scene.tap(card, "Yes, auto")
        await until(lambda: "Sent:" in card.text)
        assert scene.seen_by(ADA) == ["answer 1"]
        assert (await _row(scene, "dialogs", dialog_id=ADA))["mode"] == "auto"
        assert await _actions(scene) == ["send"]


async def test_auto_on_an_old_card_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("coming?")
        card = await scene.card("answer 1")
        scene.tap(card, "Auto from now on")
        await until(lambda: labels(card) == ["Yes, auto", "No"])
        sure = card.reply_markup
        scene.writes("or not?")
        await until(lambda: "Superseded" in card.text)
        card.reply_markup = sure
        scene.tap(card, "Yes, auto")
        await until(lambda: any("expired already" in toast for toast in _toasts(scene)))
        assert scene.seen_by(ADA) == []
        assert (await _row(scene, "dialogs", dialog_id=ADA))["mode"] is None


@pytest.mark.parametrize(("wish", "granted"), [("Shorter", "yes"), ("Warmer", "yes, I am so glad! 😊")])
async def test_a_wish_is_written_down_and_makes_another_variant(tmp_path: Path, wish: str, granted: str) -> None:
    async with opened(tmp_path) as scene:
        scene.engine.queue = ["answer 1", "answer 2", granted, "answer 3", "answer 4"]
        scene.writes("coming?")
        card = await scene.card("answer 1")
        scene.engine.seconds = 0.3
        scene.tap(card, wish)
        await until(lambda: f"writing a {wish.lower()} one" in card.text)
        await until(lambda: f"\n{granted}\n" in card.text)
        assert await _actions(scene) == [wish.lower()]
        assert len(scene.cards()) == 1


async def test_a_message_that_may_rest_is_left_or_answered_after_all(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "ok")
        await drafted(scene, "", intent="rest", reason="you usually let such a message rest (7 of 9)")
        await scene.start()
        card = await scene.card("No answer: you usually let such a message rest (7 of 9)")
        scene.says("/approve")
        await scene.hear("There are no words to send.")
        scene.tap(card, "Leave it")
        await until(lambda: "Left without an answer." in card.text)
        scene.tap(card, "Undo")
        await until(lambda: "Write anyway" in labels(card))
        scene.tap(card, "Write anyway")
        await until(lambda: "answer 1" in card.text)
        scene.tap(card, "Send")
        await until(lambda: scene.seen_by(ADA) == ["answer 1"])


async def test_a_shadow_draft_is_shown_nowhere_and_cannot_be_sent(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "coming?")
        shadow = await drafted(scene, "secretly yes", mode="shadow")
        async with scene.store.begin() as connection:
            await drafts.change(connection, shadow, state="expired", reason="shadow")
        await scene.start()
        for line in ("/approve", f"/approve {shadow.id}"):
            scene.says(line)
        await scene.hear("No draft is waiting.")
        await scene.hear("There is no such draft.")
        await scene.idle()
        assert scene.cards() == []
        assert not any("secretly" in text for text in scene.seen_by(OWNER) + scene.seen_by(ADA))


@pytest.mark.parametrize("is_quiet", [True, False])
async def test_cards_come_without_sound_in_quiet_hours(tmp_path: Path, is_quiet: bool) -> None:
    now, hour = datetime.now(local_zone()), timedelta(hours=1)
    hours = f"{now - hour:%H:%M}-{now + hour:%H:%M}" if is_quiet else f"{now + 2 * hour:%H:%M}-{now + 3 * hour:%H:%M}"
    async with opened(tmp_path, started=False) as scene:
        scene.settings = scene.settings.model_copy(update={"auto": Auto(quiet_hours=hours)})
        await scene.start()
        scene.writes("hello")
        await scene.card("hello")
        (card,) = [call for call in scene.api.calls_of("sendMessage") if "Draft" in call["text"]]
        assert card["disable_notification"] == str(is_quiet).lower()


async def test_past_replies_are_on_the_card(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.writes("coming tonight?")
        scene.tap(await scene.card("coming tonight?"), "Edit")
        await until(lambda: scene.rows("prompts"))
        scene.says("yes, at nine", reply_to=await scene.hear("instead"))
        await scene.hear("yes, at nine", account=ADA)
        scene.writes("coming tonight again?")
        card = await scene.card("coming tonight again?")
        assert "You wrote before:" in card.text
        assert "You: yes, at nine" in card.text


async def test_more_automatic_answers_than_telegram_lets_show_are_counted_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "BURST", 1)
    monkeypatch.setattr(desk, "SECONDS_A_CARD", 3600.0)
    async with opened(tmp_path, started=False, auto={"undo_seconds": 1}) as scene:
        await wrote(scene, "coming?")
        await wrote(scene, "and you?", dialog_id=BEN, name="Ben")
        await answered(scene, "yes", undo_seconds=1)
        await answered(scene, "me too", undo_seconds=1, dialog_id=BEN)
        await scene.start()
        await scene.hear("1 answer has gone by itself without a card, because more went than Telegram lets me show. /digest lists them.")
        assert "Draft 2" in (await scene.card("and you?")).text  # the newest: it can be taken back the longest
        assert not [text for text in scene.seen_by(OWNER) if "coming?" in text]
        await until(lambda: (scene.seen_by(ADA), scene.seen_by(BEN)) == (["yes"], ["me too"]))
        scene.writes("hello", sender=EVE)
        assert "Send" in labels(await scene.card("hello"))  # what the owner decides on is not held up
        await drafted(scene, "no", mode="auto", flags=["money"])
        scene.says("hi")  # rings
        held = await scene.card("Held back")
        scene.tap(held, "Skip")
        await until(lambda: "Skipped:" in held.text)
