"""A run as the owner sees it: a message that follows it, a card that it ends as, and taps that count once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bot_scene import ADA, OWNER, Scene, labels, opened, until

from bot.context import utc_now
from bot.schedule import WallClock
from sandbox.world import Message
from trainer.card import draw_card
from twin.errors import ModelError
from twin.store import adapters, facts, runs

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
        run_id = await begin(scene, trigger="schedule")
        await beat(scene, run_id, ("collect", 3.0), note="12 new messages")
        live = await scene.hear("Tonight's run")
        await beat(scene, run_id, ("collect", 3.0), ("dataset", 2.0), ("train", 100.0), done=0.5, note="loss 3.42")
        await until(lambda: "Training" in live.text)
        assert "✓ Reading new messages · 3 s" in live.text
        assert "▰▰▰▰▰▰▰▰▱▱▱▱▱▱▱▱ 50% · about 2 min left" in live.text
        assert "loss 3.42" in live.text
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
        assert [m.text for m in scene.from_bot(OWNER) if "run" in m.text.split("\n")[0]] == []


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


async def test_an_adapter_that_cannot_be_proven_leaves_the_card_as_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await keep_adapters(scene, active="a")
        await end(scene, await begin(scene), "waiting")
        shown = await card(scene)
        scene.unprovable = ModelError("Adapter b loads but changes nothing.", mend="The former adapter stays.")
        scene.tap(shown, "Promote")
        await scene.idle()
        assert labels(shown) == ["Promote", "Keep old"]
        assert scene.promoted == []


async def test_keep_old_retires_the_candidate(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await keep_adapters(scene, active="a")
        await end(scene, await begin(scene), "waiting")
        shown = await card(scene)
        scene.tap(shown, "Keep old")
        await until(lambda: "a stays, as you said." in shown.text)
        assert labels(shown) == []
        states = {row["name"]: row["state"] for row in await scene.rows("adapters")}
        assert states == {"a": "active", "b": "retired"}


async def test_roll_back_is_for_the_adapter_of_the_card_only(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await keep_adapters(scene, active="a")
        await end(scene, await begin(scene), "promoted")
        shown = await card(scene)
        scene.tap(shown, "Roll back")
        await scene.idle()
        assert scene.rolled_back == 0, "another one answers by now"
        await write(scene, lambda connection: adapters.promote(connection, "b", utc_now()))
        scene.tap(shown, "Roll back")
        await until(lambda: "Back to ada-0." in shown.text)
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


async def test_a_training_in_a_terminal_is_not_followed(tmp_path: Path) -> None:
    async with opened(tmp_path) as scene:
        await write(scene, lambda connection: runs.begin(connection, "t1", "train", utc_now()))
        scene.says("/status")
        await scene.hear("Next night")
        assert not any("Retraining" in text for text in scene.seen_by(OWNER))
        scene.says("/retrain stop")
        await scene.hear("was started in a terminal")


async def test_a_due_night_is_started_once_and_told_which_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        retraining = scene.twin().retraining
        clock = WallClock("* * * * *", UTC)
        await retraining.look(clock, scene.settings)
        assert not retraining.is_running, "what was before the first start is not made up for"
        long_ago = (utc_now() - timedelta(days=1)).isoformat()
        await write(scene, lambda connection: facts.put(connection, "first started", long_ago))
        await retraining.look(clock, scene.settings)
        await retraining.look(clock, scene.settings)
        await until(lambda: scene.nights)
        (night,) = scene.nights
        assert (night.trigger, night.full) == ("schedule", False)
        assert night.at
        assert utc_now() - night.at < timedelta(minutes=2)
        await retraining.stop()


async def test_two_programs_at_one_store_start_a_night_once(tmp_path: Path) -> None:
    async with opened(tmp_path, started=False) as scene:
        clock = WallClock("0 0 1 1 *", UTC)
        first, second = scene.twin().retraining, scene.twin().retraining
        night = clock.last(utc_now(), timedelta(days=400))
        assert night
        settings = scene.settings.model_copy(update={"schedule": scene.settings.schedule.model_copy(update={"catch_up_hours": 9999.0})})
        await write(scene, lambda connection: facts.put(connection, "first started", datetime(2000, 1, 1, tzinfo=UTC).isoformat()))
        await begin(scene, "of another program", trigger="schedule", night_at=night)
        await first.look(clock, settings)
        await write(scene, lambda connection: runs.end(connection, "of another program", "done", utc_now()))
        await second.look(clock, settings)
        assert not first.is_running
        assert not second.is_running
        assert scene.nights == []
