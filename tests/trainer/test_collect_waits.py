"""Telegram's waits are obeyed, shown, and kept over restarts; a session that Telegram ended stops the job and is told once."""

from __future__ import annotations

import asyncio
import time

import pytest
from telegram_scene import calls, chatty_world, fact, keep_session, keys, on_server, rows_of, run, serving, set_fact, signed_in, told

from sandbox.faults import Fault
from sandbox.samples import OWNER_ID
from trainer.flood_waits import WAIT, in_words
from trainer.lost_session import LOST
from twin.errors import FloodError, SessionError


class Notes:
    """A progress that remembers what was noted."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, done: float, total: float | None, note: str = "") -> None:
        self.seen.append(note)


# --- waits ------------------------------------------------------------------------------------------------------------


async def test_a_short_wait_is_slept_through_and_shown(tmp_path):
    world, sample = chatty_world(2, 150)
    notes = Notes()
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        server.faults.add(Fault("GetHistory", "flood", 2, skip=1))
        started = time.monotonic()
        await run(settings, notes)
        assert time.monotonic() - started >= 2
    assert "Telegram asks to wait, 2 s left" in notes.seen
    assert "Telegram asks to wait" not in notes.seen[-1]
    assert set(keys(await rows_of(settings))) == on_server(world, OWNER_ID, sample.contact_ids)
    assert await fact(settings, WAIT) is None


async def test_a_wait_while_the_dialogs_are_listed_is_slept_through_too(tmp_path):
    world, sample = chatty_world(3, 5)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        server.faults.add(Fault("GetDialogs", "flood", 1))
        report = await run(settings)
    assert report.new_messages == 15
    assert set(keys(await rows_of(settings))) == on_server(world, OWNER_ID, sample.contact_ids)


async def test_a_long_wait_ends_the_run_and_no_run_calls_telegram_before_it_is_over(tmp_path):
    world, sample = chatty_world(2, 350)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        server.faults.add(Fault("GetHistory", "flood", 900, skip=5))
        with pytest.raises(FloodError, match=r"15 min: collecting goes on after \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.") as caught:
            await run(settings)
        assert caught.value.seconds == 900
        kept = len(await rows_of(settings))
        assert kept >= 350  # what was read before the flood is stored, whole batch or not

        server.calls.clear()
        with pytest.raises(FloodError, match="collecting goes on after") as again:
            await run(settings)
        assert list(server.calls) == []
        assert 0 < again.value.seconds <= 900

        await set_fact(settings, WAIT, {"until": time.time() - 1, "seconds": 900})
        report = await run(settings)
    assert report.new_messages == 700 - kept
    assert sorted(keys(await rows_of(settings))) == sorted(on_server(world, OWNER_ID, sample.contact_ids))
    assert await fact(settings, WAIT) is None


async def test_the_rest_of_a_short_wait_is_slept_by_the_next_run(tmp_path):
    world, _ = chatty_world(1, 5)
    notes = Notes()
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        until = time.time() + 2
        await set_fact(settings, WAIT, {"until": until, "seconds": 900})
        report = await run(settings, notes)
        assert time.time() >= until
    assert report.new_messages == 5
    assert any(note.startswith("Telegram asks to wait") for note in notes.seen)


async def test_a_run_that_ends_in_a_short_wait_leaves_it_to_the_next(tmp_path):
    world, _ = chatty_world(1, 5)
    waiting = asyncio.Event()

    def progress(done: float, total: float | None, note: str = "") -> None:
        if note.startswith("Telegram asks to wait"):
            waiting.set()

    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        server.faults.add(Fault("GetHistory", "flood", 15))
        task = asyncio.create_task(run(settings, progress))
        await asyncio.wait_for(waiting.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    kept = await fact(settings, WAIT)
    assert kept["seconds"] == 15
    assert kept["until"] <= time.time() + 15


async def test_a_wait_that_meets_the_sign_in_is_kept_as_well(tmp_path):
    world, _ = chatty_world(1, 5)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        server.faults.add(Fault("GetUsers", "flood", 4000))
        with pytest.raises(FloodError, match="1 h 07 min"):
            await run(settings)
        server.calls.clear()
        with pytest.raises(FloodError):
            await run(settings)
        assert list(server.calls) == []


async def test_a_short_wait_that_meets_the_sign_in_is_shown_and_slept_through(tmp_path):
    world, _ = chatty_world(1, 5)
    notes = Notes()
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        server.faults.add(Fault("GetUsers", "flood", 2))
        started = time.monotonic()
        assert (await run(settings, notes)).new_messages == 5
        assert time.monotonic() - started >= 2
    assert "Telegram asks to wait, 2 s left" in notes.seen
    assert await fact(settings, WAIT) is None


async def test_short_waits_without_end_for_one_request_end_the_run(tmp_path):
    world, _ = chatty_world(1, 5)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID, flood_sleep_seconds=2)
        server.faults.add(Fault("GetHistory", "flood", 1, times=99))
        with pytest.raises(FloodError):
            await run(settings)
        assert len(calls(server, "GetHistory")) == 3


async def test_a_clock_that_was_set_back_makes_no_wait_longer(tmp_path):
    world, _ = chatty_world(1, 5)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        await set_fact(settings, WAIT, {"until": time.time() + 10**6, "seconds": 1})
        assert (await run(settings)).new_messages == 5


def test_a_wait_in_words_is_never_shorter_than_it_is():
    assert [in_words(s) for s in (1, 90, 91, 900, 3599, 3600, 3601, 86_400)] == [
        "1 s", "90 s", "1 min 31 s", "15 min", "59 min 59 s", "1 h 00 min", "1 h 01 min", "24 h 00 min"
    ]  # fmt: skip


# --- a session that Telegram ended ------------------------------------------------------------------------------------

ENDED = ["AUTH_KEY_UNREGISTERED", "SESSION_REVOKED", "SESSION_EXPIRED", "USER_DEACTIVATED", "USER_DEACTIVATED_BAN"]


@pytest.mark.parametrize("reason", ENDED)
async def test_a_session_ended_in_the_middle_stops_the_job_and_is_told_once(tmp_path, reason):
    world, _ = chatty_world(2, 350)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        server.faults.add(Fault("GetHistory", "error", [401, reason], skip=2, times=99))
        with pytest.raises(SessionError, match=f"{reason}.*twin init"):
            await run(settings)
        server.calls.clear()
        for _ in range(2):
            with pytest.raises(SessionError, match=f"{reason}.*twin init"):
                await run(settings)
        assert list(server.calls) == []  # Telegram is not asked again with a session that it has ended
    assert len(await rows_of(settings)) == 200
    (words,) = await told(settings)
    assert "twin init" in words


@pytest.mark.parametrize("how", ["revoke", "forget_keys"])
async def test_a_session_ended_between_two_runs_is_told_once(tmp_path, how):
    world, _ = chatty_world(1, 5)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID, call_seconds=5.0)
        await run(settings)
        server.revoke(OWNER_ID) if how == "revoke" else server.forget_keys()
        for _ in range(2):
            with pytest.raises(SessionError, match="twin init"):
                await run(settings)
    assert len(await told(settings)) == 1


async def test_after_a_new_sign_in_collecting_goes_on_and_the_next_loss_is_told_again(tmp_path):
    world, sample = chatty_world(1, 5)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        server.revoke(OWNER_ID)
        with pytest.raises(SessionError):
            await run(settings)
        keep_session(settings, server, OWNER_ID)  # what `twin init` does
        assert (await run(settings)).by_dialog == {sample.contact_ids[0]: 5}
        server.revoke(OWNER_ID)
        with pytest.raises(SessionError):
            await run(settings)
    assert len(await told(settings)) == 2


async def test_who_never_signed_in_is_told_by_the_command_alone(tmp_path):
    world, _ = chatty_world(1, 5)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        (settings.data / "telegram.session").unlink()
        with pytest.raises(SessionError, match="not signed in"):
            await run(settings)
    assert await told(settings) == []
    assert await fact(settings, LOST) is None
