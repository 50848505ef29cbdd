"""The store: the schema that migrations lead to, what a row goes through, and two programs at one file."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, select
from sqlalchemy.exc import IntegrityError

from twin.errors import InputError, StoreError
from twin.store import adapters, dialogs, messages, open_store, runs, tables
from twin.store.engine import HEAD, MIGRATIONS, migrate
from twin.turns import Message

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ADA = 2001


@pytest.fixture
async def store(tmp_path):
    engine = open_store(tmp_path / "twin.sqlite")
    yield engine
    await engine.dispose()


def message(number: int, text: str = "hello", **more) -> Message:
    given = {"channel": "account", "dialog_id": ADA, "out": False, "sent_at": NOW + timedelta(minutes=number), **more}
    return Message(message_id=number, text=text, **given)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_migrations_lead_to_the_tables(tmp_path):
    path = tmp_path / "twin.sqlite"
    migrate(path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
    engine.dispose()


def test_the_newest_migration_is_the_head_that_is_looked_for():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


@pytest.mark.parametrize("revision", ["0001", "0007"])
async def test_an_older_file_is_migrated_when_it_is_opened(tmp_path, revision):
    path = tmp_path / "twin.sqlite"
    migrate(path, revision)
    store = open_store(path)
    async with store.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT version_num FROM alembic_version")).scalar() == HEAD
        assert await dialogs.find(connection) == []
    await store.dispose()


def test_migrated_and_created_tables_have_the_same_checks_and_indexes(tmp_path):
    migrate(tmp_path / "migrated.sqlite")
    engine = create_engine(f"sqlite:///{tmp_path / 'created.sqlite'}")
    tables.metadata.create_all(engine)
    engine.dispose()
    assert schema(tmp_path / "migrated.sqlite") == schema(tmp_path / "created.sqlite")


def schema(path: Path) -> dict[str, str]:
    db = sqlite3.connect(path)
    rows = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'alembic_version'").fetchall()
    db.close()
    # A table that was copied by a migration has its name quoted and its checks last.
    return {name: "".join(sorted(sql.replace('"', "").replace(",", "").split())) for name, sql in rows}


def test_what_refers_to_a_table_that_is_copied_stays(tmp_path):
    path = tmp_path / "twin.sqlite"
    migrate(path, "0003")
    old = sqlite3.connect(path)
    old.execute(
        "INSERT INTO drafts (channel, dialog_id, answers_message_id, text, state, variant, author, revision, shown_revision, created_at)"
        " VALUES ('bot', 1, 1, 'yes', 'sending', 1, 'twin', 1, 0, 1)"
    )
    old.execute(
        "INSERT INTO outbox (draft_id, channel, dialog_id, position, text, random_id, state) VALUES (1, 'bot', 1, 0, 'yes', 7, 'uncertain')"
    )
    old.execute("INSERT INTO notices (text, outbox_id, created_at, told_at) VALUES ('did it arrive?', 1, 1, 2)")
    old.commit()
    old.close()
    migrate(path)
    new = sqlite3.connect(path)
    # Asked again: the buttons of the older question do not say which try they ask about.
    assert new.execute("SELECT text, outbox_id, told_at FROM notices").fetchall() == [("did it arrive?", 1, None)]
    assert new.execute("SELECT random_id, state, way FROM outbox").fetchall() == [(7, "uncertain", None)]
    assert new.execute("PRAGMA foreign_key_check").fetchall() == []
    new.close()


def test_who_let_an_answer_go_is_read_from_the_decisions_of_an_older_version(tmp_path):
    path = tmp_path / "twin.sqlite"
    migrate(path, "0005")
    old = sqlite3.connect(path)
    histories = [[], ["send"], ["auto"], ["auto", "undo"], ["auto", "edit"], ["another", "auto"], ["skip"]]
    for draft_id, actions in enumerate(histories, start=1):
        old.execute(
            "INSERT INTO drafts"
            " (id, channel, dialog_id, answers_message_id, text, state, variant, author, revision, shown_revision, created_at)"
            " VALUES (?, 'bot', 1, 1, 'yes', 'sent', 1, 'twin', 2, 1, 1)",
            (draft_id,),
        )
        for action in actions:
            old.execute("INSERT INTO decisions (draft_id, action, draft_text, at) VALUES (?, ?, 'yes', 1)", (draft_id, action))
    old.commit()
    old.close()
    migrate(path)
    new = sqlite3.connect(path)
    assert new.execute("SELECT id FROM drafts WHERE is_automatic ORDER BY id").fetchall() == [(3,), (4,), (6,)]
    new.close()
    migrate(path, "0005")
    back = sqlite3.connect(path)
    assert back.execute("SELECT count(*) FROM drafts").fetchone() == (7,)
    back.close()


async def test_a_new_file_is_private_and_every_commit_is_on_disk(tmp_path):
    path = tmp_path / "deep" / "er" / "twin.sqlite"
    store = open_store(path)
    async with store.begin() as connection:
        await dialogs.save(connection, ADA, name="Ada", username=None)
        answers = {}
        for name in ("journal_mode", "synchronous", "foreign_keys"):
            answers[name] = (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
    assert answers == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    files = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
    assert set(files.values()) == {0o600}, files
    await store.dispose()


async def test_opening_twice_changes_nothing(tmp_path):
    path = tmp_path / "twin.sqlite"
    store = open_store(path)
    async with store.begin() as connection:
        await dialogs.save(connection, ADA, name="Ada", username=None)
    await store.dispose()
    store = open_store(path)
    async with store.connect() as connection:
        assert [d.name for d in await dialogs.find(connection)] == ["Ada"]
    await store.dispose()


def test_a_file_of_a_newer_program_is_refused(tmp_path):
    path = tmp_path / "twin.sqlite"
    migrate(path)
    db = sqlite3.connect(path)
    db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.commit()
    db.close()
    with pytest.raises(StoreError, match="newer version"):
        open_store(path)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "twin.sqlite"
    path.write_text("not a database, only some text that is long enough to be looked at. " * 20)
    with pytest.raises(StoreError, match="not a usable database"):
        open_store(path)


# --- two at one file --------------------------------------------------------------------------------------------------


async def test_a_reader_does_not_keep_a_writer_waiting(tmp_path):
    reader, writer = open_store(tmp_path / "twin.sqlite"), open_store(tmp_path / "twin.sqlite")
    async with reader.connect() as reading:
        assert await dialogs.find(reading) == []
        async with asyncio.timeout(3), writer.begin() as writing:
            await dialogs.save(writing, ADA, name="Ada", username=None)
        assert await dialogs.find(reading) == []  # one transaction sees one state
    async with reader.connect() as reading:
        assert len(await dialogs.find(reading)) == 1
    await reader.dispose()
    await writer.dispose()


async def test_writers_that_read_first_wait_for_each_other(tmp_path):
    stores = [open_store(tmp_path / "twin.sqlite") for _ in range(2)]

    async def count_up(store) -> None:
        for _ in range(20):
            async with store.begin() as connection:
                known = await dialogs.get(connection, ADA)
                await dialogs.save(connection, ADA, name=str(int(known.name) + 1 if known else 1), username=None)

    await asyncio.gather(*(count_up(store) for store in stores))
    async with stores[0].connect() as connection:
        assert (await dialogs.get(connection, ADA)).name == "40"
    for store in stores:
        await store.dispose()


async def test_a_failed_transaction_leaves_nothing(store):
    async def save_two() -> None:
        async with store.begin() as connection:
            await dialogs.save(connection, ADA, name="Ada", username=None)
            await dialogs.record_consent(connection, 5, "given", NOW, "of nobody")

    with pytest.raises(IntegrityError):
        await save_two()
    async with store.connect() as connection:
        assert await dialogs.find(connection) == []


# --- messages ---------------------------------------------------------------------------------------------------------


async def test_messages_come_back_as_they_went_in(store):
    rows = [
        message(1, "a\x00b\n\\n 🙂 'x'"),
        message(2, "look", kind="photo", out=True, reply_to_id=1, forwarded=True, via_bot=True, source="twin", unattended=True),
        message(3, "", kind="voice", channel="bot", source="received"),
    ]
    async with store.begin() as connection:
        assert await messages.save(connection, rows) == 3
    async with store.connect() as connection:
        assert await messages.history(connection, ADA) == rows
        assert await messages.history(connection, ADA, newest=2) == rows[1:]
        assert await messages.counts(connection) == {ADA: (3, 1)}


async def test_saving_again_counts_nothing_follows_edits_and_keeps_the_source(store):
    async with store.begin() as connection:
        await messages.save(connection, [message(1, source="twin"), message(2)])
        assert await messages.save(connection, [message(1, "edited", source="collected"), message(2), message(3)]) == 1
        found = await messages.history(connection, ADA)
    assert [(m.message_id, m.text, m.source) for m in found] == [
        (1, "edited", "twin"),
        (2, "hello", "collected"),
        (3, "hello", "collected"),
    ]


async def test_saving_can_be_limited_to_replacing_one_source(store):
    async with store.begin() as connection:
        await messages.save(connection, [message(1), message(2, source="imported")])
        await messages.save(connection, [message(1, "old"), message(2, "new")], replaces="imported")
        assert [m.text for m in await messages.history(connection, ADA)] == ["hello", "new"]


async def test_a_deleted_message_loses_its_text_at_once_and_never_comes_back(store):
    async with store.begin() as connection:
        await messages.save(connection, [message(1, "secret"), message(2)])
        await messages.mark_deleted(connection, "account", ADA, [1], NOW)
        assert await messages.save(connection, [message(1, "secret")]) == 0
        assert [m.message_id for m in await messages.history(connection, ADA)] == [2]
        kept = (await connection.execute(select(tables.messages).where(tables.messages.c.message_id == 1))).one()
    assert (kept.text, kept.deleted_at) == ("", NOW)


async def test_an_edit_is_dated(store):
    async with store.begin() as connection:
        await messages.save(connection, [message(1), message(1, channel="bot")])
        await messages.edit(connection, "account", ADA, 1, "better", NOW)
        rows = (await connection.execute(select(tables.messages.c.channel, tables.messages.c.text, tables.messages.c.edited_at))).all()
    assert {tuple(row) for row in rows} == {("account", "better", NOW), ("bot", "hello", None)}


async def test_an_edit_does_not_bring_a_deleted_text_back(store):
    async with store.begin() as connection:
        await messages.save(connection, [message(1, "secret")])
        await messages.mark_deleted(connection, "account", ADA, [1], NOW)
        await messages.edit(connection, "account", ADA, 1, "secret, edited", NOW)
        kept = (await connection.execute(select(tables.messages.c.text))).scalar_one()
    assert kept == ""


async def test_times_keep_their_microseconds_and_come_back_in_utc(store):
    berlin = NOW.astimezone(timezone(timedelta(hours=2)))
    async with store.begin() as connection:
        await messages.save(connection, [message(1, sent_at=berlin)])
        (found,) = await messages.history(connection, ADA)
    assert (found.sent_at, found.sent_at.tzinfo) == (NOW, UTC)


async def test_sent_since_gives_texts_and_kinds_of_one_channel(store):
    async with store.begin() as connection:
        await messages.save(connection, [message(1, "old"), message(5, "new"), message(6, "other", channel="bot"), message(7, "gone")])
        await messages.mark_deleted(connection, "account", ADA, [7], NOW)
        assert await messages.sent_since(connection, "account", ADA, NOW + timedelta(minutes=5)) == {5: ("new", "text")}


# --- dialogs ----------------------------------------------------------------------------------------------------------


async def test_a_new_name_leaves_mode_consent_and_watermark(store):
    async with store.begin() as connection:
        await dialogs.save(connection, ADA, name="Ada", username=None)
        await dialogs.set_mode(connection, ADA, "auto")
        await dialogs.record_consent(connection, ADA, "given", NOW, "yes")
        await dialogs.advance_watermark(connection, ADA, 40, NOW)
        await dialogs.save(connection, ADA, name="Ada L.", username="ada")
        found = await dialogs.get(connection, ADA)
    assert found == dialogs.Dialog(ADA, "Ada L.", "ada", "auto", 40, False, None, None, "given")


async def test_a_watermark_never_goes_back(store):
    async with store.begin() as connection:
        await dialogs.save(connection, ADA, name="Ada", username=None)
        await dialogs.advance_watermark(connection, ADA, 40, NOW)
        await dialogs.advance_watermark(connection, ADA, 30, NOW)
        assert (await dialogs.get(connection, ADA)).watermark == 40


async def test_the_newest_consent_holds_and_all_are_kept(store):
    async with store.begin() as connection:
        await dialogs.save(connection, ADA, name="Ada", username=None)
        assert (await dialogs.get(connection, ADA)).consent is None
        events = [("asked", "may it?"), ("given", "yes"), ("revoked", "no more")]
        for event, words in events:
            await dialogs.record_consent(connection, ADA, event, NOW, words)
        assert (await dialogs.get(connection, ADA)).consent == "revoked"
        assert await dialogs.consent_log(connection, ADA) == [(event, NOW, words) for event, words in events]


async def test_unknown_modes_and_events_are_refused(store):
    async with store.begin() as connection:
        await dialogs.save(connection, ADA, name="Ada", username=None)
    with pytest.raises(IntegrityError):
        async with store.begin() as connection:
            await dialogs.set_mode(connection, ADA, "always")
    with pytest.raises(IntegrityError):
        async with store.begin() as connection:
            await dialogs.record_consent(connection, ADA, "hoped", NOW, "")
    with pytest.raises(IntegrityError):  # of nobody
        async with store.begin() as connection:
            await dialogs.record_consent(connection, 5, "given", NOW, "")


async def test_erasing_a_contact_leaves_a_nameless_excluded_row_and_nothing_else(store, tmp_path):
    async with store.begin() as connection:
        for dialog_id, name in ((ADA, "Ada Lovelace"), (3, "Ben")):
            await dialogs.save(connection, dialog_id, name=name, username="nick" if dialog_id == ADA else None)
            await dialogs.record_consent(connection, dialog_id, "given", NOW, "words of consent")
        await messages.save(connection, [message(1, "a secret of hers"), message(2, dialog_id=3)])
    async with store.begin() as connection:
        assert await dialogs.erase(connection, ADA) == 1
    async with store.connect() as connection:
        assert await dialogs.get(connection, ADA) == dialogs.Dialog(ADA, "", None, "off", 0, True, None, None, None)
        assert (await dialogs.get(connection, 3)).consent == "given"
        assert [m.message_id for m in await messages.history(connection, 3)] == [2]
        assert await messages.history(connection, ADA) == []


# --- adapters ---------------------------------------------------------------------------------------------------------


async def add_adapter(connection, name: str, minutes: int, dialog_ids=(ADA,)) -> None:
    await adapters.add(
        connection,
        name=name,
        path=Path("adapters") / name,
        base_model="base@1",
        parent=None,
        dataset_hash="d" * 64,
        metrics={"loss": 3.5},
        dialog_ids=dialog_ids,
        at=NOW + timedelta(minutes=minutes),
    )


async def test_one_adapter_is_active_and_rollback_goes_to_the_one_before(store):
    async with store.begin() as connection:
        for minutes, name in enumerate(("one", "two", "three")):
            await add_adapter(connection, name, minutes)
        assert await adapters.active(connection) is None
        for minutes, name in enumerate(("one", "two", "three")):
            await adapters.promote(connection, name, NOW + timedelta(hours=minutes + 1))
        assert (await adapters.active(connection)).name == "three"
        assert (await adapters.rollback(connection)).name == "two"
        assert (await adapters.rollback(connection)).name == "one"
        assert await adapters.rollback(connection) is None  # to the base model
        assert await adapters.active(connection) is None
        with pytest.raises(InputError, match="No adapter is active"):
            await adapters.rollback(connection)


async def test_an_adapter_promoted_again_after_a_rollback_rolls_back_to_the_one_it_replaced(store):
    async with store.begin() as connection:
        for minutes, name in enumerate(("one", "two")):
            await add_adapter(connection, name, minutes)
            await adapters.promote(connection, name, NOW + timedelta(hours=minutes + 1))
        await adapters.rollback(connection)
        await adapters.promote(connection, "two", NOW + timedelta(hours=5))
        assert (await adapters.rollback(connection)).name == "one"


async def test_promoting_the_active_adapter_again_changes_nothing_to_roll_back_to(store):
    async with store.begin() as connection:
        for minutes, name in enumerate(("one", "two")):
            await add_adapter(connection, name, minutes)
            await adapters.promote(connection, name, NOW + timedelta(hours=minutes + 1))
        await adapters.promote(connection, "two", NOW + timedelta(hours=9))
        assert (await adapters.rollback(connection)).name == "one"


async def test_an_unknown_adapter_cannot_be_promoted_and_the_active_one_stays(store):
    async with store.begin() as connection:
        await add_adapter(connection, "one", 0)
        await adapters.promote(connection, "one", NOW)
        with pytest.raises(InputError, match="no adapter named two"):
            await adapters.promote(connection, "two", NOW)
        assert (await adapters.active(connection)).name == "one"


async def test_two_active_adapters_are_impossible(store):
    async with store.begin() as connection:
        await add_adapter(connection, "one", 0)
        await add_adapter(connection, "two", 1)
    with pytest.raises(IntegrityError):
        async with store.begin() as connection:
            await connection.execute(tables.adapters.update().values(state="active"))


async def test_adding_an_adapter_twice_keeps_the_first(store):
    async with store.begin() as connection:
        await add_adapter(connection, "one", 0)
        await adapters.record_metrics(connection, "one", {"loss": 2.0})
        await add_adapter(connection, "one", 9, dialog_ids=(5,))
        (found,) = await adapters.find(connection)
    assert (found.metrics, found.created_at, found.path) == ({"loss": 2.0}, NOW, Path("adapters/one"))


async def test_the_adapters_that_learned_from_a_dialog_are_known(store):
    async with store.begin() as connection:
        await add_adapter(connection, "one", 0, dialog_ids=(ADA, 3))
        await add_adapter(connection, "two", 1, dialog_ids=(3, 3))
        assert await adapters.carrying(connection, ADA) == ["one"]
        assert await adapters.carrying(connection, 3) == ["one", "two"]
        assert await adapters.carrying(connection, 9) == []


# --- from an older schema ---------------------------------------------------------------------------------------------


async def test_the_first_schema_with_runs_in_it_becomes_the_newest(tmp_path):
    path = tmp_path / "twin.sqlite"
    migrate(path, "0001")
    db = sqlite3.connect(path)
    db.execute(
        "INSERT INTO runs (run_id, kind, state, stage, started_at, heartbeat_at, ended_at, detail, error) "
        "VALUES ('r1', 'nightly', 'done', 'promote', 1, 2, 3, '{\"adapter\": \"a\"}', NULL)"
    )
    db.commit()
    db.close()
    store = open_store(path)
    async with store.connect() as connection:
        run = await runs.newest(connection)
        assert await runs.untold(connection) == []
    await store.dispose()
    assert run
    assert (run.run_id, run.detail) == ("r1", {"adapter": "a"})
    assert (run.trigger, run.night_at, run.progress, run.told, run.stop_asked_at) == ("terminal", None, {}, "ended", None)


async def test_a_night_that_is_done_is_not_begun_again_whoever_tries(store):
    async with store.begin() as connection:
        await runs.begin(connection, "r1", "nightly", NOW, trigger="schedule", night_at=NOW)
        await runs.begin(connection, "r2", "nightly", NOW, trigger="schedule", night_at=NOW)
        assert [(run.run_id, run.state, run.error) for run in await runs.of_night(connection, NOW)] == [
            ("r2", "running", None),
            ("r1", "failed", runs.INTERRUPTED),
        ]
        await runs.end(connection, "r2", "done", NOW)
        with pytest.raises(InputError, match="done already"):
            await runs.begin(connection, "r3", "nightly", NOW, trigger="schedule", night_at=NOW)
        await runs.begin(connection, "r4", "nightly", NOW)  # of no night: whenever somebody likes


async def test_what_goes_on_can_be_asked_to_stop_and_what_died_can_be_buried(store):
    async with store.begin() as connection:
        assert await runs.ask_to_stop(connection, NOW) is None
        await runs.begin(connection, "r1", "train", NOW)
        assert not await runs.is_asked_to_stop(connection, "r1", NOW)
        asked = await runs.ask_to_stop(connection, NOW)
        assert asked
        assert asked.run_id == "r1"
        assert await runs.is_asked_to_stop(connection, "r1", NOW)
        assert not await runs.is_asked_to_stop(connection, "r1", NOW - timedelta(seconds=1))
        await runs.bury(connection, "r1")
        buried = await runs.get(connection, "r1")
        assert buried
        assert (buried.state, buried.error, buried.ended_at) == ("failed", runs.INTERRUPTED, NOW)
        assert await runs.ask_to_stop(connection, NOW) is None


async def test_an_attempt_that_never_had_a_row_of_its_own_counts_too(store):
    async with store.begin() as connection:
        await runs.add_ended(
            connection, "r1", "failed", NOW, trigger="schedule", night_at=NOW, error="No such file.", detail={"failure": "E"}
        )
        (run,) = await runs.of_night(connection, NOW)
        assert (run.kind, run.state, run.error, run.detail) == ("nightly", "failed", "No such file.", {"failure": "E"})


async def test_a_full_night_starts_the_count_anew(tmp_path):
    store = open_store(tmp_path / "twin.sqlite")
    async with store.begin() as connection:
        for i, kind in enumerate(["full", "incremental", "full", "incremental", "incremental", "nothing"]):
            await runs.begin(connection, f"r{i}", "nightly", NOW + timedelta(days=i))
            learned = {"kind": kind, "adapter": f"a{i}"} if kind != "nothing" else {"kind": "incremental"}
            await runs.end(connection, f"r{i}", "done", NOW + timedelta(days=i), detail=learned)
        assert await runs.since_full(connection) == 2
    await store.dispose()
