"""Collecting over a real socket: exactly the server's messages, only what is new, and a clear end when Telegram misbehaves."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from export_files import ADA, OWNER, account, chat, written
from sqlalchemy import select
from telegram_scene import arrived, calls, chatty_world, in_store, keep_session, keys, on_server, rows_of, run, serving, signed_in

from sandbox.faults import Fault
from sandbox.samples import OWNER_ID, small_world
from sandbox.world import Account, BusinessConnection, Media, World
from trainer import saving
from trainer.collect import collect
from trainer.importer import import_export
from twin.errors import InputError, SessionError, TelegramError
from twin.settings import Settings
from twin.store import dialogs, facts, messages, notices, open_store, tables
from twin.turns import Message

BATCH = 500
LATER = datetime.now(UTC) + timedelta(days=30)  # by then no message of these worlds is recent enough to be read again


# --- what is stored ---------------------------------------------------------------------------------------------------


async def test_the_small_world_arrives_exactly(tmp_path):
    world = World()
    sample = small_world(world)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        report = await run(settings)
    rows = await rows_of(settings)
    expected = on_server(world, OWNER_ID, sample.contact_ids)
    assert set(keys(rows)) == expected
    assert len(rows) == len(expected) == report.new_messages
    assert report.by_dialog == {c: len(world.history(OWNER_ID, c)) for c in sample.contact_ids}
    assert {r.source for r in rows} == {"collected"}
    assert {r.channel for r in rows} == {"account"}


async def test_kinds_replies_and_forwards_are_told_apart(tmp_path):
    world = World()
    sample = small_world(world)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        await run(settings)
    by_text = {r.text: r for r in await rows_of(settings)}
    ada = sample.contact_ids[0]
    question = next(m for m in world.history(OWNER_ID, ada) if m.text.startswith("hey, are you"))
    assert by_text["the one at 9:12"].reply_to_id == question.ids[OWNER_ID]
    assert by_text["Rain from noon on."].forwarded
    assert not by_text["sure"].forwarded
    assert sorted(r.kind for r in await rows_of(settings) if r.kind != "text") == ["photo", "service"]


async def test_bots_groups_and_channels_are_left_out_and_never_asked_for(tmp_path):
    world = World()
    sample = small_world(world)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        report = await run(settings)
        asked = {request.peer.user_id for request in calls(server, "GetHistory")}
    assert report.skipped == {"bot": 1, "channel": 1, "group": 1}
    assert asked == set(sample.contact_ids)


async def test_saved_messages_telegram_and_excluded_dialogs_are_never_asked_for(tmp_path):
    world, sample = chatty_world(3, 4)
    world.add_account(Account(777000, "Telegram"))
    world.send(777000, OWNER_ID, "Login code: 00000", silent=True)
    world.send(OWNER_ID, OWNER_ID, "note to self", silent=True)
    left_out, *others = sample.contact_ids
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        store = open_store(settings.store_path)
        async with store.begin() as connection:
            await dialogs.save(connection, left_out, name="", username=None)
            await dialogs.exclude(connection, left_out, True)
        await store.dispose()
        report = await run(settings)
        asked = {request.peer.user_id for request in calls(server, "GetHistory")}
    assert report.skipped == {"Telegram": 1, "excluded": 1, "saved messages": 1}
    assert asked == set(others)
    assert {r.dialog_id for r in await rows_of(settings)} == set(others)


async def test_a_dialog_carries_the_contacts_name(tmp_path):
    world = World()
    sample = small_world(world)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        await run(settings)
    store = open_store(settings.store_path)
    async with store.connect() as connection:
        found = {d.dialog_id: (d.name, d.username) for d in await dialogs.find(connection)}
    await store.dispose()
    people = [world.accounts[c] for c in sample.contact_ids]
    assert found == {a.id: (f"{a.first_name} {a.last_name}".strip(), a.username) for a in people}


async def test_media_of_every_kind_keeps_its_caption(tmp_path):
    kinds = ["photo", "document", "voice", "video", "video_note", "sticker", "animation", "audio", "contact", "location", "venue", "poll"]
    world, sample = chatty_world(1, 1)
    for kind in [*kinds, "dice", "hologram"]:
        media = Media(
            kind, b"x", emoji="😀" if kind in ("sticker", "dice") else None, file_name="Tea or coffee?" if kind == "poll" else None
        )
        world.send(OWNER_ID, sample.contact_ids[0], "look" if kind in ("photo", "video", "hologram") else "", media=media, silent=True)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        await run(settings)
    found = [(r.kind, r.text) for r in (await rows_of(settings))[1:]]
    words = {"photo": "look", "video": "look", "hologram": "look", "sticker": "😀", "dice": "😀", "poll": "Tea or coffee?"}
    assert found == [(k if k != "hologram" else "unsupported", words.get(k, "")) for k in [*kinds, "dice", "hologram"]]


async def test_what_a_business_bot_sent_for_the_owner_is_the_twins(tmp_path):
    world, sample = chatty_world(1, 2)
    world.add_account(Account(42, "Twin", is_bot=True, token="42:x"))
    connection = BusinessConnection("c1", OWNER_ID, 42, int(time.time()))
    world.send(OWNER_ID, sample.contact_ids[0], "from the twin", connection=connection, silent=True)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        await run(settings)
    assert [(r.source, r.out) for r in await rows_of(settings)][-1] == ("twin", True)


async def test_what_came_through_a_connection_counts_as_collected_once_it_is_collected(tmp_path):
    world, sample = chatty_world(1, 4)
    ada = sample.contact_ids[0]
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        store = open_store(settings.store_path)
        async with store.begin() as connection:
            await dialogs.save(connection, ada, name="Ada", username=None)
            seen = [
                Message(
                    "account", ada, m.ids[OWNER_ID], m.sender_id == OWNER_ID, datetime.fromtimestamp(m.date, UTC), m.text, source=source
                )
                for m, source in zip(world.history(OWNER_ID, ada)[1:], ("business", "twin", "owner"), strict=True)
            ]
            await messages.save(connection, seen)
            await messages.save(connection, seen)  # an update that is handled again changes nothing
        assert [r.source for r in await in_store(store)] == ["business", "twin", "owner"]
        await store.dispose()
        await run(settings)
    assert [r.source for r in await rows_of(settings)] == ["collected", "collected", "twin", "owner"]


# --- incremental ------------------------------------------------------------------------------------------------------


async def test_a_second_run_fetches_only_what_is_new(tmp_path):
    world, sample = chatty_world(5, 130)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        await run(settings)
        world.send(sample.contact_ids[2], OWNER_ID, "and another thing", silent=True)
        server.calls.clear()
        report = await run(settings)
        asked = calls(server, "GetHistory")
    assert report.by_dialog == {sample.contact_ids[2]: 1}
    assert report.unchanged == 4
    assert {request.peer.user_id for request in asked} == {sample.contact_ids[2]}
    assert min(request.offset_id for request in asked) > 130  # from the watermark, not from the start
    assert set(keys(await rows_of(settings))) == on_server(world, OWNER_ID, sample.contact_ids)


async def test_a_new_private_chat_is_discovered(tmp_path):
    world, _ = chatty_world(1, 5)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        assert (await run(settings)).discovered == 1
        world.add_account(Account(4711, "Newcomer"))
        world.send(4711, OWNER_ID, "hi, I am new here", silent=True)
        report = await run(settings, now=LATER)
    assert (report.discovered, report.by_dialog) == (1, {4711: 1})


async def test_a_run_without_news_asks_for_no_history(tmp_path):
    world = World()
    small_world(world)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        await run(settings)
        server.calls.clear()
        report = await run(settings, now=LATER)
        assert calls(server, "GetHistory") == []
    assert (report.new_messages, report.unchanged, report.dialogs) == (0, 3, 0)


async def test_recent_edits_and_deletions_are_followed(tmp_path):
    world = World()
    sample = small_world(world)
    cleo = sample.contact_ids[1]
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        await run(settings)
        by_text = {m.text: m for m in world.history(OWNER_ID, cleo)}
        world.edit(by_text["oh nice!"], text="oh wow!")
        world.delete([by_text["what did it cost"]])
        report = await run(settings)
    assert (report.edited, report.deleted, report.new_messages) == (1, 1, 0)
    rows = await rows_of(settings)
    assert set(keys(rows)) == on_server(world, OWNER_ID, sample.contact_ids)
    assert next(r for r in rows if r.text == "oh wow!").edited_at is not None


async def test_a_deletion_of_the_newest_messages_is_followed(tmp_path):
    world = World()
    sample = small_world(world)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        await run(settings)
        cleo = sample.contact_ids[1]
        world.delete(world.history(OWNER_ID, cleo)[-2:])
        report = await run(settings)
    assert report.deleted == 2
    assert set(keys(await rows_of(settings))) == on_server(world, OWNER_ID, sample.contact_ids)


async def test_a_chat_that_was_imported_before_has_no_duplicates(tmp_path):
    world, sample = chatty_world(1, 10)
    contact = sample.contact_ids[0]
    imported = [
        Message(
            "account", contact, m.ids[OWNER_ID], m.sender_id == OWNER_ID, datetime.fromtimestamp(m.date, UTC), m.text, source="imported"
        )
        for m in world.history(OWNER_ID, contact)[:6]
    ]
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        store = open_store(settings.store_path)
        async with store.begin() as connection:
            await dialogs.save(connection, contact, name="", username=None)
            await messages.save(connection, imported)
        await store.dispose()
        report = await run(settings)
    assert report.by_dialog == {contact: 4}
    assert sorted(keys(await rows_of(settings))) == sorted(on_server(world, OWNER_ID, [contact]))


async def test_a_dialog_that_is_forgotten_while_it_is_read_stays_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "WRITE_ROWS", BATCH)
    world, sample = chatty_world(1, 3 * BATCH)
    contact = sample.contact_ids[0]
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        store = open_store(settings.store_path)
        progress_seen = []

        async def forget() -> None:
            async with store.begin() as connection:
                await dialogs.erase(connection, contact)

        tasks = []

        def progress(done, total, note=""):
            progress_seen.append((done, total))
            if len(progress_seen) == 2:  # the first batch is in
                tasks.append(asyncio.get_running_loop().create_task(forget()))

        server.faults.add(Fault("GetHistory", "delay", 0.3, skip=7))
        await collect(store, settings, progress)
        await tasks[0]
        assert await in_store(store) == []
        async with store.connect() as connection:
            assert [(d.name, d.excluded) for d in await dialogs.find(connection)] == [("", True)]
        await store.dispose()


# --- when Telegram misbehaves -----------------------------------------------------------------------------------------


async def test_lost_connections_and_lost_answers_lose_nothing(tmp_path):
    world, sample = chatty_world(3, 700)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        for skip in (1, 3, 4, 9):
            server.faults.add(Fault("GetHistory", "drop_before", skip=skip))
            server.faults.add(Fault("GetHistory", "drop_after", skip=skip + 1))
        report = await run(settings)
        assert all(rule.times == 0 for rule in server.faults.rules)
    assert report.new_messages == 2100
    assert sorted(keys(await rows_of(settings))) == sorted(on_server(world, OWNER_ID, sample.contact_ids))


async def test_a_call_without_an_answer_ends_and_the_next_run_goes_on(tmp_path):
    world, sample = chatty_world(2, 350)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID, call_seconds=1.5)
        server.faults.add(Fault("GetHistory", "no_reply", skip=2))
        with pytest.raises(TelegramError, match=r"no answer within 1\.5 seconds"):
            await run(settings)
        assert len(await rows_of(settings)) == 200
        await run(settings)
    assert sorted(keys(await rows_of(settings))) == sorted(on_server(world, OWNER_ID, sample.contact_ids))


async def test_a_session_revoked_in_the_middle_is_a_session_error(tmp_path):
    world, _ = chatty_world(2, 350)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        server.faults.add(Fault("GetHistory", "error", [401, "SESSION_REVOKED"], skip=2, times=99))
        with pytest.raises(SessionError, match="twin init"):
            await run(settings)
    assert len(await rows_of(settings)) == 200


async def test_one_refused_dialog_does_not_stop_the_others(tmp_path):
    world, _ = chatty_world(3, 20)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        server.faults.add(Fault("GetHistory", "error", [400, "PEER_ID_INVALID"], skip=1))
        report = await run(settings)
    assert report.skipped == {"refused": 1}
    assert report.new_messages == 40


async def test_rows_and_their_watermark_are_saved_together_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "WRITE_ROWS", BATCH)
    world, _ = chatty_world(1, 2 * BATCH)
    real, done = dialogs.advance_watermark, []

    async def failing_from_the_second_on(*args):
        done.append(args)
        if len(done) > 1:
            raise OSError("the disk is full")
        await real(*args)

    monkeypatch.setattr(dialogs, "advance_watermark", failing_from_the_second_on)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        with pytest.raises(OSError, match="the disk is full"):
            await run(settings)
    rows = await rows_of(settings)
    store = open_store(settings.store_path)
    async with store.connect() as connection:
        (dialog,) = await dialogs.find(connection)
    await store.dispose()
    assert len(done) > 1
    assert (len(rows), rows[-1].message_id) == (BATCH, dialog.watermark)


async def test_after_a_write_that_failed_nothing_is_written(tmp_path, monkeypatch):
    """The next rows, with their watermark, would hide for ever that the ones before them are missing."""
    monkeypatch.setattr(saving, "WRITE_ROWS", 200)
    world, sample = chatty_world(1, 1000)
    real, done = messages.save, []

    async def failing_once(*args):
        done.append(args)
        if len(done) == 2:
            raise OSError("the disk was full for a moment")
        return await real(*args)

    monkeypatch.setattr(saving.messages, "save", failing_once)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        with pytest.raises(OSError, match="for a moment"):
            await run(settings)
        assert len(await rows_of(settings)) == 200
        await run(settings)
    assert sorted(keys(await rows_of(settings))) == sorted(on_server(world, OWNER_ID, sample.contact_ids))


async def test_a_collection_that_is_cancelled_while_it_waits_for_the_disk_leaves_no_hole(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "WRITE_ROWS", 100)
    monkeypatch.setattr(saving, "WAIT_ROWS", 300)
    world, sample = chatty_world(1, 2000)
    real, writing, go_on = messages.save, asyncio.Event(), asyncio.Event()

    async def slow(*args):
        writing.set()
        await go_on.wait()
        return await real(*args)

    monkeypatch.setattr(saving.messages, "save", slow)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        task = asyncio.create_task(run(settings))
        await asyncio.wait_for(writing.wait(), 20)
        await arrived(server, "GetHistory", 5)  # four pages are read, and the reading waits
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        ids = [row.message_id for row in await rows_of(settings)]
        assert ids
        assert ids == [m.ids[OWNER_ID] for m in world.history(OWNER_ID, sample.contact_ids[0])][: len(ids)]
        await run(settings)
    assert sorted(keys(await rows_of(settings))) == sorted(on_server(world, OWNER_ID, sample.contact_ids))


async def test_a_dialog_that_is_excluded_while_it_is_read_is_asked_for_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.collect.LOOK_SECONDS", 0.0)  # as against Telegram itself, which gets a request a second
    world, sample = chatty_world(2, 1000)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        store = open_store(settings.store_path)
        server.faults.add(Fault("GetHistory", "delay", 1.0, skip=2))
        task = asyncio.create_task(collect(store, settings))
        await arrived(server, "GetHistory", 3)
        async with store.begin() as connection:
            for contact in sample.contact_ids:
                await dialogs.exclude(connection, contact, True)
        report = await task
        assert len(calls(server, "GetHistory")) == 3  # what was under way was the last
        assert await in_store(store) == []
        await store.dispose()
    assert report.skipped == {"excluded": 1}
    assert report.new_messages == 0


# --- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["constructor", "cut"])
async def test_a_chat_that_telethon_cannot_read_is_left_and_all_others_are_read(tmp_path, monkeypatch, how):
    world, sample = chatty_world(contacts=3, each=250)
    bad, *others = sample.contact_ids
    history = world.history(OWNER_ID, bad)
    history[150].garbled = how
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        report = await run(settings)
        assert report.skipped == {"undecodable": 1}
        assert set(keys(await rows_of(settings))) >= on_server(world, OWNER_ID, others)
        read = [row for row in await rows_of(settings) if row.dialog_id == bad]
        assert len(read) == 100  # the pages before it
        assert len(await notices_of(settings)) == 1
        world.send(bad, OWNER_ID, "one more")
        server.calls.clear()
        again = await run(settings)
        assert again.skipped == {"undecodable": 1}
        assert calls(server, "GetHistory") == []
        (told,) = await notices_of(settings)
        assert "I leave that chat until the library is updated" in told
        history[150].garbled = None
        world.edit(history[150], text="now it is readable")  # which the server renders anew
        monkeypatch.setattr("telethon.__version__", "99.0")
        await run(settings)
    assert set(keys(await rows_of(settings))) == on_server(world, OWNER_ID, sample.contact_ids)


async def notices_of(settings):
    store = open_store(settings.store_path)
    try:
        async with store.connect() as connection:
            return [notice.text for notice in await notices.untold(connection)]
    finally:
        await store.dispose()


# --- whose chats they are ---------------------------------------------------------------------------------------------


async def everything(settings: Settings) -> list[Any]:
    """All rows of the tables that a collection writes."""
    store = open_store(settings.store_path)
    try:
        async with store.connect() as connection:
            return [list(await connection.execute(select(t))) for t in (tables.messages, tables.dialogs, tables.facts, tables.notices)]
    finally:
        await store.dispose()


async def test_a_store_is_of_the_account_that_was_collected_first(tmp_path):
    world, sample = chatty_world(2, 4)
    ada, ben = sample.contact_ids
    world.send(ada, ben, "between the two", silent=True)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        await run(settings)
        before = await everything(settings)
        keep_session(settings, server, ada)
        with pytest.raises(InputError, match=f"chats of account {OWNER_ID}, and the kept session is of account {ada}"):
            await run(settings)
        assert await everything(settings) == before
        keep_session(settings, server, OWNER_ID)
        await run(settings)
    store = open_store(settings.store_path)
    async with store.connect() as connection:
        assert await facts.get(connection, "account") == OWNER_ID
    await store.dispose()


async def test_the_account_of_an_import_is_the_one_that_may_be_collected_and_the_other_way_round(tmp_path):
    world, sample = chatty_world(1, 4)
    ada = sample.contact_ids[0]
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, ada)
        store = open_store(settings.store_path)
        await import_export(store, written(tmp_path, account(chat(ADA), owner=OWNER)))
        rows = await in_store(store)
        with pytest.raises(InputError, match=f"of account {OWNER}, and the kept session is of account {ada}"):
            await run(settings)
        assert await in_store(store) == rows
        with pytest.raises(InputError, match=f"of account {OWNER}, and TWIN_OWNER__ID is of account {OWNER_ID}"):
            await import_export(store, written(tmp_path, account(chat(ADA), owner=OWNER_ID)), owner_id=OWNER_ID)
        await store.dispose()
    async with serving(world) as server:
        folder = tmp_path / "other"
        folder.mkdir()
        other = signed_in(folder, server, OWNER_ID)
        await run(other)
        store = open_store(other.store_path)
        with pytest.raises(InputError, match=f"is the export of account {OWNER}"):
            await import_export(store, written(folder, account(chat(ADA), owner=OWNER)))
        await store.dispose()


async def test_a_session_of_another_account_than_the_settings_name_is_refused(tmp_path):
    world, _ = chatty_world(1, 4)
    async with serving(world) as server:
        settings = signed_in(tmp_path, server, OWNER_ID)
        named = settings.model_copy(update={"owner": settings.owner.model_copy(update={"id": OWNER_ID + 1})})
        with pytest.raises(SessionError, match=f"of account {OWNER_ID}, not of the owner's, {OWNER_ID + 1}"):
            await run(named)
    assert await rows_of(settings) == []
