"""How contacts are answered: /mode, its menu, and the default for everyone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from auto_rows import answered, drafted, wrote
from bot_scene import ADA, BEN, EVE, Scene, data_of, labels, opened, until

from bot import mode_menu
from bot.context import utc_now
from twin import modes, replies
from twin.modes import Figures
from twin.store import dialogs, drafts, messages
from twin.store.dialogs import Dialog
from twin.store.tables import comparisons
from twin.turns import Message

DIALOG = Dialog(ADA, "Ada", "ada", None, 0, False, None, None, None)
NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)


async def _modes(scene: Scene) -> dict[int, str | None]:
    return {row["dialog_id"]: row["mode"] for row in await scene.rows("dialogs")}


async def _default(scene: Scene) -> str:
    async with scene.store.connect() as connection:
        return await modes.default(connection, scene.settings)


@pytest.mark.parametrize("mode", ["off", "shadow", "approve", "auto"])
async def test_each_mode_is_set_by_a_line(tmp_path: Path, mode: str) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "hello")
        await scene.start()
        scene.says(f"/mode @ada {mode}")
        await scene.hear(f"Ada Lovelace: {mode}.")
        assert await _modes(scene) == {ADA: mode}


async def test_who_wrote_last_comes_first(tmp_path: Path) -> None:
    async with opened(tmp_path, default_mode="off") as scene:
        for sender in (BEN, ADA, EVE):
            scene.writes("hello", sender=sender, date=int(scene.world.clock()) + sender)
            await scene.idle()
        scene.says("/mode")
        assert labels(await scene.hear("How contacts are answered"))[:3] == ["Eve · off", "Ben · off", "Ada Lovelace · off"]


async def test_each_mode_is_set_by_its_button_and_shown_with_its_figures(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "hello")
        shadow = await drafted(scene, "hi", mode="shadow")
        async with scene.store.begin() as connection:
            await drafts.change(connection, shadow, state="expired", reason="shadow")
            row = {"draft_id": shadow.id, "dialog_id": ADA, "likeness": 0.61, "owner_message_ids": [2], "at": utc_now()}
            await connection.execute(comparisons.insert().values(row))
        await answered(scene, "hi there")
        await scene.start()
        scene.says("/mode")
        menu = await scene.hear("How contacts are answered")
        scene.tap(menu, "Ada Lovelace · auto")
        await until(lambda: "✓ Auto" in labels(menu))
        assert "Compared with what you wrote 1 time: 61% alike on average." in menu.text
        assert "Answered by itself in 7 days: 1." in menu.text
        for mode in ("Off", "Shadow", "Approve", "Auto"):
            if f"✓ {mode}" not in labels(menu):
                scene.tap(menu, mode)
                await until(lambda mode=mode: f"✓ {mode}" in labels(menu))
                assert await _modes(scene) == {ADA: mode.lower()}


async def test_the_default_for_everyone_is_asked_back_and_then_wins_over_the_setting(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        scene.says("/mode default off")
        question = await scene.hear("Off for everyone?")
        assert labels(question) == ["Yes, off for everyone", "No"]
        assert await _default(scene) == "approve"
        scene.tap(question, "No")
        await until(lambda: "✓ Approve" in labels(question))
        scene.tap(question, "Off")
        await until(lambda: "Yes, off for everyone" in labels(question))
        scene.tap(question, "Yes, off for everyone")
        await until(lambda: "✓ Off" in labels(question))
        assert await _default(scene) == "off"
        scene.writes("hello")
        await scene.idle()
        assert scene.engine.asked == []
        scene.says("/status")
        assert "1 by default (off)" in (await scene.hear("Engine: answers")).text
        await scene.stop()
        await scene.start()
        assert await _default(scene) == "off"


async def test_a_default_that_changes_follows_only_those_who_have_it(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "hello")
        await wrote(scene, "hi", dialog_id=BEN, name="Ben")
        for dialog_id in (ADA, BEN):
            await drafted(scene, "hey", dialog_id=dialog_id)
        async with scene.store.begin() as connection:
            await replies.set_mode(connection, BEN, "approve", scene.settings, NOW)
            await replies.set_default_mode(connection, "off", NOW)
        states = {row["dialog_id"]: (row["state"], row["reason"]) for row in await scene.rows("drafts")}
        assert states == {ADA: ("expired", "switched off"), BEN: ("pending", None)}


@pytest.mark.parametrize(("mode", "state"), [("approve", "pending"), ("shadow", "expired"), ("off", "expired"), ("auto", "approved")])
async def test_an_automatic_answer_that_has_not_begun_does_not_outlive_auto(tmp_path: Path, mode: str, state: str) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "hello")
        await answered(scene, "hi\nthere", in_seconds=300)
        async with scene.store.begin() as connection:
            await replies.set_mode(connection, ADA, mode, scene.settings, NOW)  # type: ignore[arg-type]
        assert [row["state"] for row in await scene.rows("drafts")] == [state]
        assert {row["state"] for row in await scene.rows("outbox")} == {"waiting" if mode == "auto" else "cancelled"}


async def test_auto_by_default_is_set_aside_by_no_default(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False, default_mode="auto") as scene:
        await wrote(scene, "hello")
        await answered(scene, "hi", in_seconds=300)
        async with scene.store.begin() as connection:
            await replies.set_mode(connection, ADA, None, scene.settings, NOW)
        assert [row["state"] for row in await scene.rows("drafts")] == ["approved"]


async def test_figures_count_seven_days(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "hello")
        await answered(scene, "hi", in_seconds=300)
        async with scene.store.connect() as connection:
            assert await modes.figures(connection, ADA, utc_now()) == Figures(0, None, 1)
            assert await modes.figures(connection, BEN, utc_now()) == Figures(0, None, 0)
            assert await modes.figures(connection, ADA, utc_now() + timedelta(days=8)) == Figures(0, None, 0)


def test_the_menu_says_what_each_mode_means() -> None:
    text, keyboard = mode_menu.one(DIALOG, "approve", Figures(0, None, 0), 0)
    for mode in modes.MODES:
        assert f"{mode.capitalize()}: {mode_menu.MEANINGS[mode]}" in text.as_kwargs()["text"]
    assert "Compared" not in text.as_kwargs()["text"]
    assert [button.text for row in keyboard.inline_keyboard for button in row][4] == "✓ Default (approve)"


def test_the_mode_stays_in_sight_however_long_the_name_is() -> None:
    named = Dialog(2**52, "👨‍👩‍👧‍👦" * 50, None, "approve", 0, False, None, None, None)
    _, keyboard = mode_menu.contacts([named] * 30, "approve", 2)
    first = keyboard.inline_keyboard[0][0]
    assert first.text.endswith(" · approve")
    buttons = [button for row in keyboard.inline_keyboard for button in row]
    assert [button.text for button in buttons[-3:]] == ["Everyone else · approve", "‹ Back", "More ›"]
    assert all(len((button.callback_data or "").encode()) <= 64 for button in buttons)


async def test_a_name_that_several_have_is_asked_for_by_id(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "hello")
        await wrote(scene, "hello", dialog_id=BEN)
        await scene.start()
        scene.says("/mode Ada Lovelace auto")
        asked = await scene.hear("Several contacts have this name; use the id.")
        assert all(f"Ada Lovelace (@ada, {dialog_id})" in asked.text for dialog_id in (ADA, BEN))
        assert await _modes(scene) == {ADA: None, BEN: None}
        scene.says(f"/mode {BEN} auto")
        await scene.hear("Ada Lovelace: auto.")
        assert await _modes(scene) == {ADA: None, BEN: "auto"}
        scene.says("/mode")
        menu = await scene.hear("How contacts are answered")
        assert data_of(menu, "Everyone else · approve")
        assert labels(menu)[:2] == [f"Ada Lovelace ({BEN}) · auto", f"Ada Lovelace ({ADA}) · approve"]


async def test_a_stranger_is_never_taken_for_a_contact_of_the_account(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await wrote(scene, "hello", dialog_id=EVE, name="Anna")
        async with scene.store.begin() as connection:
            await dialogs.save(connection, ADA, name="Anna Lovelace", username="ada")
            await messages.save(connection, [Message("account", ADA, 1, False, NOW, "hi")])
        await scene.start()
        scene.says("/mode Anna shadow")
        await scene.hear("Anna Lovelace: shadow.")
        assert await _modes(scene) == {ADA: "shadow", EVE: None}
        scene.says("/mode Anna auto")
        await scene.hear("Do you mean Anna Lovelace (@ada, 201)? For auto write the whole name, or the id. Nothing was changed.")
        assert await _modes(scene) == {ADA: "shadow", EVE: None}
        scene.says("/mode anna lovelace auto")
        await scene.hear("Anna Lovelace: auto.")
