"""A first import goes through Telegram's data export where the account allows it, and nobody waits where it does not."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from telegram_scene import calls, chatty_world, fact, keys, on_server, rows_of, run, serving, set_fact, signed_in, told
from telethon import errors

from sandbox.faults import Fault
from sandbox.mtproto import MtprotoServer
from sandbox.samples import OWNER_ID
from trainer import takeout
from trainer.flood_waits import WAIT
from trainer.history import PAUSE_SECONDS, Account
from trainer.takeout import EXPORT, FIRST_IMPORT
from trainer.telethon_calls import RefusedError
from twin.errors import FloodError
from twin.settings import Settings
from twin.store import facts

DAY = Fault("InitTakeoutSession", "error", [420, "TAKEOUT_INIT_DELAY_86400"])


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a first import is worth an export in worlds that are made at once."""
    monkeypatch.setattr(takeout, "LARGE", 200)


def exported(server: MtprotoServer) -> list[bool]:
    """Of each history request, whether it was part of an export."""
    return [call.takeout_id is not None for call in server.calls if call.name == "GetHistory"]


async def break_off(settings: Settings, server: MtprotoServer, *, after: int) -> None:
    """A run that a long flood ends after some requests for history; its wait is over by the time of the next run."""
    server.faults.add(Fault("GetHistory", "flood", 900, skip=after))
    with pytest.raises(FloodError):
        await run(settings)
    server.faults.clear()
    await set_fact(settings, WAIT, {"until": time.time() - 1, "seconds": 900})
    server.calls.clear()


async def test_a_first_import_goes_through_an_export_which_is_closed_at_the_end(tmp_path):
    world, sample = chatty_world(3, 250)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        report = await run(settings)
        assert report.takeout
        assert set(exported(server)) == {True}
        (init,) = calls(server, "InitTakeoutSession")
        assert (init.message_users, init.message_chats, init.message_channels, init.files) == (True, False, False, False)
        (finish,) = calls(server, "FinishTakeoutSession")
        assert finish.success
    assert sorted(keys(await rows_of(settings))) == sorted(on_server(world, OWNER_ID, sample.contact_ids))
    assert await fact(settings, EXPORT) is None
    assert await told(settings) == []


async def test_after_the_first_import_no_export_is_asked_for(tmp_path):
    world, sample = chatty_world(2, 250)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        await run(settings)
        for i in range(250):
            world.send(sample.contact_ids[0], OWNER_ID, f"news {i}", silent=True)
        server.calls.clear()
        report = await run(settings)
        assert calls(server, "InitTakeoutSession") == calls(server, "FinishTakeoutSession") == []
    assert (report.new_messages, report.takeout) == (250, False)


@pytest.mark.parametrize("why", ["switched off", "a small account"])
async def test_no_export_is_asked_for_where_it_is(tmp_path, why):
    world, sample = chatty_world(2, 20 if why == "a small account" else 250)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        if why == "switched off":
            settings = settings.model_copy(update={"collect": settings.collect.model_copy(update={"takeout": False})})
        await run(settings)
        assert calls(server, "InitTakeoutSession") == []
    assert sorted(keys(await rows_of(settings))) == sorted(on_server(world, OWNER_ID, sample.contact_ids))


async def test_the_delay_is_told_once_and_nobody_waits_for_it(tmp_path):
    world, sample = chatty_world(2, 250)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        server.faults.add(DAY)
        report = await run(settings)
        assert set(exported(server)) == {False}
    assert report.new_messages == 500
    assert sorted(keys(await rows_of(settings))) == sorted(on_server(world, OWNER_ID, sample.contact_ids))
    (words,) = await told(settings)
    assert "24 h 00 min" in words
    # The import went through without it, so there is nothing to begin an export for.
    assert report.takeout_from is None
    assert await fact(settings, FIRST_IMPORT)
    assert await fact(settings, EXPORT) is None


async def test_the_delay_outlives_the_process_and_the_export_begins_after_it(tmp_path):
    world, sample = chatty_world(2, 450)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        server.faults.add(Fault(DAY.method, DAY.action, DAY.arg))
        await break_off(settings, server, after=2)
        kept = await fact(settings, EXPORT)
        assert 86_300 < kept["until"] - time.time() <= 86_400

        await break_off(settings, server, after=1)  # within the day: not asked for again, and plain
        assert calls(server, "InitTakeoutSession") == []
        assert await fact(settings, EXPORT) == kept

        await set_fact(settings, EXPORT, {"until": time.time() - 1})
        report = await run(settings)
        assert len(calls(server, "InitTakeoutSession")) == 1
        assert set(exported(server)) == {True}
    assert report.takeout
    assert sorted(keys(await rows_of(settings))) == sorted(on_server(world, OWNER_ID, sample.contact_ids))
    assert len(await told(settings)) == 1


async def test_an_account_without_exports_is_collected_plainly_and_not_asked_again(tmp_path):
    world, sample = chatty_world(2, 450)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        server.faults.add(Fault("InitTakeoutSession", "error", [403, "TAKEOUT_FORBIDDEN"]))
        await break_off(settings, server, after=2)
        report = await run(settings)
        assert calls(server, "InitTakeoutSession") == []
    assert not report.takeout
    assert sorted(keys(await rows_of(settings))) == sorted(on_server(world, OWNER_ID, sample.contact_ids))


async def test_a_server_that_fails_is_asked_for_an_export_again(tmp_path, store):
    class Failing:
        async def patiently(self, ask):
            raise RefusedError("500") from errors.ServerError(None, "INTERNAL", 500)

    client = SimpleNamespace(session=SimpleNamespace(takeout_id=None))
    assert await takeout.begin(store, client, Settings(_env_file=None, data=tmp_path), Failing()) is None
    async with store.connect() as connection:
        assert await facts.get(connection, EXPORT) is None


async def test_an_open_export_is_gone_on_with_by_the_next_run(tmp_path):
    world, sample = chatty_world(2, 450)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        await break_off(settings, server, after=2)
        await run(settings)
        assert calls(server, "InitTakeoutSession") == []
        assert set(exported(server)) == {True}
        assert len(calls(server, "FinishTakeoutSession")) == 1
    assert sorted(keys(await rows_of(settings))) == sorted(on_server(world, OWNER_ID, sample.contact_ids))


async def test_an_export_that_telegram_closed_is_gone_on_without(tmp_path):
    world, sample = chatty_world(2, 450)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        await break_off(settings, server, after=2)
        for key in server.auth_keys.values():
            key.takeout_id = None
        report = await run(settings)
        assert exported(server)[0]
        assert not any(exported(server)[1:])
        assert calls(server, "FinishTakeoutSession") == []
    assert report.skipped == {}
    assert sorted(keys(await rows_of(settings))) == sorted(on_server(world, OWNER_ID, sample.contact_ids))


async def test_a_broken_off_export_whose_rest_is_small_is_closed_all_the_same(tmp_path, monkeypatch):
    world, _ = chatty_world(2, 450)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        await break_off(settings, server, after=8)
        monkeypatch.setattr(takeout, "LARGE", 10_000)
        await run(settings)
        assert len(calls(server, "FinishTakeoutSession")) == 1
    assert await fact(settings, EXPORT) is None


def test_telegram_itself_is_asked_once_a_second_except_in_an_export(tmp_path):
    own, telegram = (Settings(_env_file=None, data=tmp_path, telegram={"server": server}) for server in ("127.0.0.1:1", None))
    client, export = object(), object()
    account = Account(None, client, telegram, None)
    assert account.pause_seconds == PAUSE_SECONDS == 1.0
    account.through = export
    assert account.pause_seconds == 0
    assert Account(None, client, own, None).pause_seconds == 0
