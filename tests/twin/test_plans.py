"""What is asked for every answer finds its rows by an index: an old store must not make a new answer slow."""

import sqlite3
from pathlib import Path

import pytest

from twin.store import cards, drafts, due, inbox, limits, messages, outbox
from twin.store.engine import migrate
from twin.store.prepared import Prepared

GROWING = ("drafts", "messages", "outbox", "inbox", "decisions")
SELECTS = [
    pytest.param(statement, id=f"{module.__name__.rpartition('.')[2]}.{name}")
    for module in (cards, drafts, due, inbox, limits, messages, outbox)
    for name, statement in vars(module).items()
    if isinstance(statement, Prepared) and statement.sql.startswith("SELECT")
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plans") / "twin.sqlite"
    migrate(path)
    return path


@pytest.mark.parametrize("statement", SELECTS)
def test_no_prepared_statement_looks_through_a_table_that_grows(store: Path, statement: Prepared) -> None:
    with sqlite3.connect(store) as driver:
        plan = [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement.sql}", [None] * statement.sql.count("?"))]
    assert plan
    assert not [step for step in plan for table in GROWING if step == f"SCAN {table}"], plan


DESK = [cards.UNSHOWN, cards.UNSHOWN_AUTOMATIC, cards.OUTDATED_AUTOMATIC, cards.PASS_OVER]


@pytest.mark.parametrize("statement", DESK, ids=["unshown", "unshown_automatic", "outdated_automatic", "pass_over"])
def test_cards_that_are_to_be_shown_are_found_without_those_that_are_not(store: Path, statement: Prepared) -> None:
    with sqlite3.connect(store) as driver:
        plan = [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement.sql}", [None] * statement.sql.count("?"))]
    paced = "" if statement is cards.UNSHOWN else "_paced"
    assert len(plan) == 1, plan
    assert f"ix_drafts_unshown{paced} " in f"{plan[0]} "


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with many drafts, of which SQLite has counted how many are alike."""
    path = tmp_path_factory.mktemp("plans") / "twin.sqlite"
    migrate(path)
    with sqlite3.connect(path) as driver:
        columns = "channel, dialog_id, answers_message_id, text, state, variant, author, revision, shown_revision, created_at"
        rows = [("bot", i % 50, i, "", "sent" if i % 100 else "pending", 1, "twin", 2, 2, i) for i in range(5000)]
        driver.executemany(f"INSERT INTO drafts ({columns}) VALUES ({', '.join('?' * 10)})", rows)
        driver.execute("ANALYZE")
    return path


@pytest.mark.parametrize("kind", ["store", "counted"])
@pytest.mark.parametrize("statement", [drafts.PENDING, drafts.PENDING_HERE, drafts.PENDING_CREATED_BEFORE, drafts.ANOTHER_DUE])
def test_drafts_that_wait_for_the_owner_are_found_without_those_that_do_not(
    request: pytest.FixtureRequest, kind: str, statement: Prepared
) -> None:
    with sqlite3.connect(request.getfixturevalue(kind)) as driver:
        plan = [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement.sql}", [None] * statement.sql.count("?"))]
    assert "drafts USING INDEX ix_drafts_pending" in plan[0], plan


def test_the_newest_of_a_chat_are_read_in_the_order_of_their_index(store: Path) -> None:
    """However long it is: nothing older is looked at, and nothing is sorted."""
    with sqlite3.connect(store) as driver:
        plan = [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {messages.HISTORY.sql}", [None] * messages.HISTORY.sql.count("?"))]
    assert plan == ["SEARCH messages USING INDEX ix_messages_dialog_id_sent_at_message_id (dialog_id=?)"]


def test_what_goes_next_is_read_in_the_order_in_which_it_goes(store: Path) -> None:
    """However much waits, no more of it is looked at than goes."""
    with sqlite3.connect(store) as driver:
        plan = [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {outbox.READY.sql}", [None] * outbox.READY.sql.count("?"))]
    assert plan[0] == "SEARCH outbox USING INDEX ix_outbox_state_not_before_at (state=?)"
    assert not [step for step in plan if "TEMP B-TREE" in step], plan
