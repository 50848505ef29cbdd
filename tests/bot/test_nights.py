"""A run as the owner sees it: a message that follows it, a card that it ends as, and taps that count once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bot_scene import ADA, BOT, EVE, OWNER, Scene, data_of, labels, opened, until
from kill_scene import Program, die_at

from bot.context import utc_now
from bot.retraining import ORDER, SINCE
from bot.run_card import RunTap, caption, keyboard, read_result, side_by_side
from sandbox.world import Message, PressAnswered
from trainer.card import draw_card
from twin.errors import ModelError, TwinError
from twin.store import adapters, facts, runs
from twin.store.runs import Run
from twin.utf16 import length

FIGURES = {"loss": 3.5, "anchor_loss": 3.6, "generic_loss": 1.9, "context_choice": 0.8, "distinct": 1.0, "style": 0.85}
LINE = "b passes: 0.100 nats a token better than a, and nothing else fell."


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.nightwatch.EDIT_SECONDS", 0.02)
    monkeypatch.setattr("bot.nightwatch.IDLE_SECONDS", 0.05)


async def write(scene: Scene, work: Callable[[Any], Awaitable[Any]]) -> Any:
    async with scene.store.begin() as connection:
        return await work(connection)


async def begin(scene: Scene, run_id: str = "20260602-020000-abcdef", **more: Any) -> str:
    await write(scene, lambda connection: runs.begin(connection, run_id, "nightly", utc_now(), **more))
    return run_id


async def beat(scene: Scene, run_id: str, *stages: tuple[str, float], done: float = 0.0, note: str = "") -> None:
    progress = {"done": done, "total": 1.0, "note": note, "stages": [{"name": name, "seconds": seconds} for name, seconds in stages]}
    await write(scene, lambda connection: runs.beat(connection, run_id, stages[-1][0], utc_now(), progress))


async def end(scene: Scene, run_id: str, outcome: str, **more: Any) -> None:
    """What the chain leaves behind."""
    folder = scene.settings.data / "runs" / run_id
    folder.mkdir(parents=True)
    manifest = {
        "run_id": run_id, "kind": "incremental", "outcome": outcome, "line": LINE, "adapter": "b", "parent": "a", "new_messages": 512,
        "mixture": {"new_targets": 187}, "figures": {"base": FIGURES, "a": FIGURES, "b": FIGURES | {"loss": 3.4}, "owner": {"style": 0.95}},
        "curve": {"train": [(i, 3.6 - i / 100) for i in range(1, 30)], "validation": [(10, 3.5), (20, 3.4)]},
    }  # fmt: skip
    draw_card(folder / "card.png", manifest)
    rows = [{"message": f"question {i} <b>?", "owner": "mine", "live": f"old {i}", "new": f"new {i}"} for i in range(8)]
    (folder / "answers.json").write_text(json.dumps(rows))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    detail = {"outcome": outcome, "line": LINE, "adapter": "b", "parent": "a", "kind": "incremental"} | more
    await write(scene, lambda connection: runs.end(connection, run_id, "done", utc_now(), detail=detail))


async def keep_adapters(scene: Scene, *, active: str) -> None:
    async def work(connection: Any) -> None:
        for name in ("a", "b"):
            await adapters.add(
                connection, name=name, path=scene.settings.data / name, base_model="m", parent=None, dataset_hash="h",
                metrics={}, dialog_ids=[ADA], at=datetime.now(UTC),
            )  # fmt: skip
        await adapters.promote(connection, active, datetime.now(UTC))

    await write(scene, work)


def pictures(scene: Scene) -> list[Message]:
    return [m for m in scene.from_bot(OWNER) if m.media]


async def card(scene: Scene) -> Message:
    return (await until(lambda: pictures(scene)))[-1]


async def test_one_message_follows_the_run_and_becomes_a_card(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        run_id = await begin(scene, trigger="schedule", night_at=utc_now())
        await beat(scene, run_id, ("collect", 3.0), note="12 new messages")
        live = await scene.hear("Night of")
        await beat(scene, run_id, ("collect", 3.0), ("dataset", 2.0), ("train", 100.0), done=0.5, note="loss 3.42")
        await until(lambda: "▸ Training" in live.text)
        assert "✓ Reading new messages · 3 s" in live.text
        assert "▰▰▰▰▰▰▱▱▱▱▱▱ 50% · 2 min left" in live.text
        assert "loss 3.42" in live.text
        assert live.text.endswith("○ Comparing old and new")
        await end(scene, run_id, "promoted")
        shown = await card(scene)
        assert "A new adapter is live" in shown.text
        assert "Loss on unseen replies: 3.500 → 3.400" in shown.text
        assert labels(shown) == ["Roll back"]
        answers = await scene.hear("Old and new")
        assert answers.reply_to == shown.uid
        assert "question 4 <b>?" in answers.text
        assert "question 5" not in answers.text, "five are enough"
        await until(lambda: live.uid not in scene.world.messages)
        assert [m.text for m in scene.from_bot(OWNER)] == [shown.text, answers.text]


async def test_it_is_edited_only_when_there_is_something_else_to_see(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        run_id = await begin(scene)
        await beat(scene, run_id, ("train", 10.0), done=0.25)
        live = await scene.hear("25%")
        edited_at = live.edit_date
        scene.fail("editMessageText", "error", times=99)  # whoever edits now is told off, and says so in the log
        for _ in range(5):
            await beat(scene, run_id, ("train", 10.0), done=0.25)
            await asyncio.sleep(0.03)
        assert live.edit_date == edited_at


async def test_promote_counts_once_and_the_card_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await keep_adapters(scene, active="a")
        await end(scene, await begin(scene), "waiting")
        shown = await card(scene)
        assert labels(shown) == ["Promote", "Keep old"]
        scene.tap(shown, "Promote")
        scene.tap(shown, "Keep old")
        await until(lambda: "b is live, as you said." in shown.text)
        assert scene.promoted == ["b"]
        assert labels(shown) == ["Roll back"]


async def test_an_adapter_that_cannot_be_proven_leaves_the_buttons_and_the_card_says_why(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await keep_adapters(scene, active="a")
        await end(scene, await begin(scene), "waiting")
        shown = await card(scene)
        scene.unprovable = ModelError("Adapter b loads but changes nothing.", mend="The former adapter stays.")
        scene.tap(shown, "Promote")
        await until(lambda: "That did not work: Adapter b loads but changes nothing." in shown.text)
        assert LINE in shown.text
        assert labels(shown) == ["Promote", "Keep old"]
        scene.unprovable = None
        scene.tap(shown, "Promote")
        await until(lambda: labels(shown) == ["Roll back"])
        assert scene.promoted == ["b"]


async def test_a_candidate_that_was_measured_against_another_adapter_is_not_promoted(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await keep_adapters(scene, active="a")
        await end(scene, await begin(scene), "waiting", parent="z")
        shown = await card(scene)
        scene.tap(shown, "Promote")
        await until(lambda: "a is live by now" in shown.text)
        assert "`twin adapters promote b` overrides" in shown.text
        assert labels(shown) == []
        assert scene.promoted == []


async def test_a_card_from_before_a_restart_still_works_and_nobody_else_can_tap_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await keep_adapters(scene, active="a")
        await end(scene, await begin(scene), "waiting")
        shown = await card(scene)
        await scene.hear("Old and new")
        await scene.stop()
        await scene.start()
        scene.world.press(EVE, shown, data_of(shown, "Promote"))
        scene.tap(shown, "Keep old")
        await until(lambda: "a stays, as you said." in shown.text)
        assert scene.promoted == []
        assert all(len(data.encode()) <= 64 for data in (run_tap("promote", "x" * 40), run_tap("keep", "x" * 40)))


def run_tap(action: str, run_id: str) -> str:
    return RunTap(action=action, run_id=run_id).pack()


async def test_a_tap_on_a_card_that_was_decided_says_what_came_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await keep_adapters(scene, active="a")
        await end(scene, await begin(scene), "waiting")
        shown = await card(scene)
        answers: list[str] = []
        stop_listening = scene.world.subscribe(lambda event: answers.append(event.text) if isinstance(event, PressAnswered) else None)
        scene.tap(shown, "Keep old")
        scene.tap(shown, "Promote")
        await until(lambda: len(answers) == 2)
        stop_listening()
        assert answers == ["", "Decided already: a stays, as you said."]
        assert scene.promoted == []


async def test_roll_back_is_for_the_adapter_of_the_card_only(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await keep_adapters(scene, active="b")
        await end(scene, await begin(scene), "promoted")
        shown = await card(scene)
        scene.tap(shown, "Roll back")
        scene.tap(shown, "Roll back")
        await until(lambda: "Back to ada-0." in shown.text)
        await scene.idle()
        assert scene.rolled_back == 1
        await scene.hear("Old and new")
        await end(scene, await begin(scene, "20260603-020000-abcdef"), "promoted")
        await write(scene, lambda connection: adapters.promote(connection, "a", utc_now()))
        later = await until(lambda: pictures(scene)[1:])
        scene.tap(later[0], "Roll back")
        await until(lambda: "a answers by now." in later[0].text)
        assert labels(later[0]) == []
        assert scene.rolled_back == 1


async def test_a_refusal_says_why_and_has_no_buttons(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await end(scene, await begin(scene), "refused", line="b does not go live, a stays: it forgot.")
        shown = await card(scene)
        assert "The old adapter stays" in shown.text
        assert "it forgot" in shown.text
        assert labels(shown) == []


async def test_what_ended_while_the_bot_was_away_is_told_once_when_it_is_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        run_id = await begin(scene)
        await beat(scene, run_id, ("train", 10.0), done=0.25)
        live = await scene.hear("Retraining")
        await scene.stop()
        await end(scene, run_id, "promoted")
        await scene.start()
        await card(scene)
        await until(lambda: live.uid not in scene.world.messages)
        await scene.stop()
        await scene.start()
        await scene.idle()
        assert len(pictures(scene)) == 1


@pytest.mark.parametrize(
    ("state", "error", "head"),
    [("failed", "Telegram cannot be reached.", "The run failed"), ("cancelled", None, "The run was stopped")],
)
async def test_a_run_without_a_result_ends_in_one_line(tmp_path: Path, state: Any, error: str | None, head: str) -> None:
    async with opened(tmp_path) as scene:
        run_id = await begin(scene)
        await beat(scene, run_id, ("collect", 1.0))
        live = await scene.hear("Retraining")
        await write(scene, lambda connection: runs.end(connection, run_id, state, utc_now(), error=error))
        await until(lambda: head in live.text)
        assert error is None or error in live.text
        assert pictures(scene) == []


async def test_a_training_in_a_terminal_is_not_followed_but_can_be_stopped(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await write(scene, lambda connection: runs.begin(connection, "t1", "train", utc_now()))
        await beat(scene, "t1", ("train", 30.0), done=0.5)
        scene.is_training = True
        scene.says("/status")
        told = await scene.hear("Next night")
        assert "Going on: Training, 50%, about 30 s left" in told.text
        assert not any("Retraining" in text for text in scene.seen_by(OWNER))
        scene.says("/retrain")
        await scene.hear("A retraining is going on already.")
        scene.says("/retrain stop")
        await scene.hear("I asked it to end")
        assert [row["stop_asked_at"] is not None for row in await scene.rows("runs")] == [True]
        assert scene.nights == []


async def test_a_night_of_a_terminal_is_followed_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        run_id = await begin(scene)
        await beat(scene, run_id, ("collect", 1.0))
        await scene.hear("Retraining, started in a terminal")
        await end(scene, run_id, "refused")
        await card(scene)


# --- what goes wrong on the way ---------------------------------------------------------------------------------------


async def test_a_picture_that_is_refused_or_gone_leaves_the_words_and_the_buttons(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await keep_adapters(scene, active="a")
        scene.fail("sendPhoto", "error", [400, "Bad Request: IMAGE_PROCESS_FAILED"])
        await end(scene, await begin(scene), "waiting")
        shown = await scene.hear("A new adapter waits for you")
        assert pictures(scene) == []
        scene.tap(shown, "Promote")
        await until(lambda: "b is live, as you said." in shown.text)
        run_id = await begin(scene, "20260603-020000-abcdef")
        await end(scene, run_id, "refused")
        (scene.settings.data / "runs" / run_id / "card.png").unlink()
        await scene.hear("The old adapter stays")


async def test_a_flood_limit_between_the_card_and_its_answers_is_obeyed_and_nothing_comes_twice(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await end(scene, await begin(scene), "refused")
        scene.fail("sendMessage", "flood", 1)
        await scene.start()
        await scene.hear("Old and new")
        await until(lambda: _told(scene))
        assert len(pictures(scene)) == 1
        assert len([text for text in scene.seen_by(OWNER) if "Old and new" in text]) == 1


async def _told(scene: Scene) -> bool:
    return {row["told"] for row in await scene.rows("runs")} == {"ended"}


async def test_a_card_whose_answers_were_cut_off_by_the_end_of_the_process_gets_them(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        run_id = await begin(scene)
        await end(scene, run_id, "refused")
        shown = await card(scene)
        await scene.hear("Old and new")
        await until(lambda: _told(scene))
        await scene.stop()
        await write(scene, lambda connection: runs.mark_told(connection, run_id, "card", shown.ids[BOT]))
        await scene.start()
        await until(lambda: len([text for text in scene.seen_by(OWNER) if "Old and new" in text]) == 2)
        assert len(pictures(scene)) == 1


async def test_a_night_that_is_tried_again_keeps_its_message_and_says_when(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        night = utc_now()
        first = await begin(scene, "first", trigger="schedule", night_at=night)
        await beat(scene, first, ("collect", 1.0))
        live = await scene.hear("Night of")
        failure = {"failure": "TelegramError"}
        away = "Telegram cannot be reached."
        await write(scene, lambda connection: runs.end(connection, first, "failed", utc_now(), error=away, detail=failure))
        await until(lambda: "It is tried again at" in live.text)
        second = await begin(scene, "second", trigger="schedule", night_at=night)
        await beat(scene, second, ("train", 1.0))
        await until(lambda: "▸ Training" in live.text)
        await scene.stop()  # and with it the run
        await write(scene, lambda connection: runs.bury(connection, second))
        third = await begin(scene, "third", trigger="schedule", night_at=night)
        await beat(scene, third, ("evaluate", 1.0))
        await scene.start()
        await until(lambda: "▸ Comparing" in live.text)
        revoked = {"failure": "SessionError"}
        await write(scene, lambda connection: runs.end(connection, third, "failed", utc_now(), error="Signed out.", detail=revoked))
        await until(lambda: "Signed out." in live.text)
        await until(lambda: _told(scene))
        assert "tried again" not in live.text
        assert scene.from_bot(OWNER) == [live]


@pytest.mark.slow
async def test_a_kill_on_any_line_loses_no_card_and_a_doubled_one_counts_once(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await keep_adapters(scene, active="a")
        run_id = await begin(scene)
        await beat(scene, run_id, ("train", 1.0))
        program = Program("bot_process:main", "nights", (str(scene.settings.data), scene.api.base_url))
        await die_at(program, "run's message sent, not noted")
        await end(scene, run_id, "waiting")
        await die_at(program, "run's picture sent, not noted")
        await die_at(program, "run's answers sent, not noted")
        await scene.start()
        await until(lambda: _told(scene))
        first, second = pictures(scene)
        for shown in (first, second):
            scene.tap(shown, "Promote")
        await until(lambda: labels(first) == labels(second) == ["Roll back"])
        assert scene.promoted == ["b"]


def test_words_of_any_length_fit_and_stay_as_typed(tmp_path: Path) -> None:
    """Captions and texts have limits, in UTF-16 units."""
    long = "😀" * 900
    folder = tmp_path / "r"
    folder.mkdir()
    manifest = {"outcome": "refused", "line": long, "adapter": "b", "parent": "a", "figures": {"a": FIGURES, "b": FIGURES}}
    rows = [{"message": long, "owner": long, "live": "", "new": long}] * 5
    (folder / "answers.json").write_text(json.dumps(rows))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    result = read_result(folder)
    run = Run("r", "nightly", "done", "", utc_now(), utc_now(), utc_now(), {"outcome": "refused", "line": "x" * 3000, "adapter": "b"},
              None, "owner", None, {}, None, "", None)  # fmt: skip
    assert result
    assert length(caption(result, run).as_kwargs()["text"]) <= 1024
    assert "Style like yours" in caption(result, run).as_kwargs()["text"]
    answers = side_by_side(result).as_kwargs()["text"]
    assert length(answers) <= 4096
    assert answers.count("You: ") == 5
    assert keyboard(run) is None


# --- when a night begins ----------------------------------------------------------------------------------------------


async def begin_long_ago(scene: Scene, line: str = "* * * * *", **more: Any) -> None:
    """The bot was installed yesterday, and a night comes every minute."""
    schedule = scene.settings.schedule.model_copy(update={"nightly": line, **more})
    scene.settings = scene.settings.model_copy(update={"schedule": schedule})
    since = {"line": line, "at": (utc_now() - timedelta(days=1)).isoformat()}
    await write(scene, lambda connection: facts.put(connection, SINCE, since))


async def test_a_due_night_is_started_once_and_told_which_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await begin_long_ago(scene)
        retraining = scene.twin().retraining
        await asyncio.gather(retraining.look(), retraining.look())
        (night,) = await until(lambda: scene.nights)
        assert (night.trigger, night.full) == ("schedule", False)
        assert utc_now() - night.at < timedelta(minutes=2)
        await retraining.close()


async def test_what_was_before_the_first_start_or_before_the_line_was_set_is_not_made_up_for(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await begin_long_ago(scene)
        async with scene.store.begin() as connection:
            await facts.forget(connection, SINCE)
        await scene.twin().retraining.look()
        await begin_long_ago(scene, "*/2 * * * *")
        scene.settings = scene.settings.model_copy(
            update={"schedule": scene.settings.schedule.model_copy(update={"nightly": "*/3 * * * *"})}
        )
        await scene.twin().retraining.look()
        assert scene.nights == []
        (since,) = [row["value"] for row in await scene.rows("facts") if row["name"] == SINCE]
        assert since["line"] == "*/3 * * * *"


async def test_two_programs_at_one_store_start_a_night_once(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await begin_long_ago(scene, "0 0 1 1 *", catch_up_hours=9999.0)
        long_ago = {"line": "0 0 1 1 *", "at": datetime(2000, 1, 1, tzinfo=UTC).isoformat()}
        await write(scene, lambda connection: facts.put(connection, SINCE, long_ago))
        first, second = scene.twin().retraining, scene.twin().retraining
        await first.look()
        await until(lambda: scene.is_training)
        await second.look()
        assert not second.is_running
        scene.retrain_may_end.set()
        await until(lambda: not first.is_running)
        await second.look()
        await first.look()
        assert len(scene.nights) == 1


async def test_a_night_that_ends_with_the_program_is_picked_up_when_it_is_back(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await begin_long_ago(scene, "0 0 1 1 *", catch_up_hours=9999.0)
        long_ago = {"line": "0 0 1 1 *", "at": datetime(2000, 1, 1, tzinfo=UTC).isoformat()}
        await write(scene, lambda connection: facts.put(connection, SINCE, long_ago))
        await scene.start()
        await until(lambda: scene.is_training)
        await scene.stop()
        assert [row["state"] for row in await scene.rows("runs")] == ["cancelled"]
        await scene.start()
        await until(lambda: scene.is_training)
        assert scene.nights[0] == scene.nights[1]
        scene.says("/retrain stop")
        await scene.hear("Retraining is stopped.")
        await scene.stop()
        await scene.start()
        await scene.idle()
        assert len(scene.nights) == 2, "what the owner stopped is over"


async def test_a_retraining_that_was_killed_is_picked_up_as_it_was_asked_for(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        asked_at = utc_now() - timedelta(minutes=30)
        await write(scene, lambda connection: facts.put(connection, ORDER, {"at": asked_at.isoformat(), "full": True}))
        await write(scene, lambda connection: runs.begin(connection, "killed", "nightly", asked_at, trigger="owner", night_at=asked_at))
        await scene.start()
        (night,) = await until(lambda: scene.nights)
        assert (night.at, night.trigger, night.full) == (asked_at, "owner", True)
        states = await until(lambda: _states(scene, 2))
        assert states == {"killed": "failed", "run-1": "running"}
        scene.retrain_may_end.set()
        await scene.hear("better by 0.31 nats")
        retraining = scene.twin().retraining
        await retraining.look()
        assert len(scene.nights) == 1
        assert ORDER not in [row["name"] for row in await scene.rows("facts")]


async def _states(scene: Scene, count: int) -> dict[str, str] | None:
    rows = await scene.rows("runs")
    return {row["run_id"]: row["state"] for row in rows} if len(rows) == count else None


async def test_a_chain_that_never_begins_is_told_once_and_not_tried_every_minute(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        await begin_long_ago(scene, "0 0 1 1 *", catch_up_hours=9999.0)
        long_ago = {"line": "0 0 1 1 *", "at": datetime(2000, 1, 1, tzinfo=UTC).isoformat()}
        await write(scene, lambda connection: facts.put(connection, SINCE, long_ago))
        scene.chain_fails = TwinError("The nightly run ended with exit code 1.", mend="The log says why.")
        await scene.start()
        told = await scene.hear("exit code 1")
        assert "It is tried again at" in told.text
        retraining = scene.twin().retraining
        await retraining.look()
        assert not retraining.is_running
        assert len(scene.nights) == 1
