"""The reply rules, without Telegram: receiving, drafting, deciding, sending."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from twin import decisions, drafting, replies, sending
from twin.drafting import Job, Proposal
from twin.errors import EngineError
from twin.generator import Generated
from twin.settings import Settings
from twin.store import dialogs, due, facts, messages, notices, open_store, outbox, prompts
from twin.store.drafts import Draft
from twin.store.tables import metadata
from twin.turns import Message

ADA, OWNER = 7, 1
SETTINGS = Settings(_env_file=None, owner={"id": OWNER, "name": "Olga"}, bot={"burst_seconds": 3, "drafts_per_hour": 4})  # type: ignore[call-arg, arg-type]
START = datetime(2026, 11, 21, 4, tzinfo=UTC)
REFUSED = EngineError("It refused.", kind="refused")
DEAD = EngineError("It is dead.", kind="unreachable")


@dataclass
class Chat:
    """One store, one connection, a clock that is set by hand."""

    connection: AsyncConnection
    now: datetime = START
    last_id: int = 0

    async def write(self, text: str = "hello", *, dialog_id: int = ADA, message_id: int = 0, kind: str = "text") -> bool:
        self.last_id = message_id or self.last_id + 1
        message = Message("bot", dialog_id, self.last_id, False, self.now, text, kind=kind, source="received")
        return await replies.receive(self.connection, message, name="Ada", username="ada", settings=SETTINGS, now=self.now)

    async def draft(self, text: str = "hi") -> Draft | None:
        """Let the burst end and the engine answer."""
        self.now += timedelta(seconds=4)
        job = await self.job()
        if job is None:
            return None
        prepared = await drafting.prepare(self.connection, job, SETTINGS, self.now)
        if prepared is None:
            await drafting.drop(self.connection, job)
            return None
        proposal = Proposal.of(Generated(text, 3, -1.0, "ada-1"))
        return await drafting.propose(self.connection, job, prepared, proposal, SETTINGS, self.now)

    async def job(self) -> Job | None:
        return next(iter(await drafting.next_jobs(self.connection, 1, SETTINGS)), None)

    async def rows(self, table: str) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in await self.connection.execute(select(metadata.tables[table]))]


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncIterator[Chat]:
    store = open_store(tmp_path / "twin.sqlite")
    async with store.begin() as connection:
        yield Chat(connection)
    await store.dispose()


# --- receiving ---


async def test_a_burst_moves_the_moment_on(chat: Chat) -> None:
    assert await chat.write()
    chat.now += timedelta(seconds=2)
    assert await chat.write("again")
    (row,) = await chat.rows("replies_due")
    assert row["due_at"] == START + timedelta(seconds=5)


async def test_an_update_handled_twice_changes_nothing(chat: Chat) -> None:
    await chat.write(message_id=5)
    draft = await chat.draft()
    assert not await chat.write(message_id=5)
    assert (await chat.rows("drafts"))[0]["state"] == "pending"
    assert await chat.rows("replies_due") == []
    assert draft


async def test_a_forgotten_contact_is_not_kept(chat: Chat) -> None:
    await dialogs.save(chat.connection, ADA, name="", username=None)
    await dialogs.exclude(chat.connection, ADA, True)
    assert not await chat.write()
    assert await chat.rows("messages") == []


@pytest.mark.parametrize(("mode", "wanted"), [("off", False), ("shadow", True), ("approve", True), ("auto", True), (None, True)])
async def test_the_mode_says_whether_a_draft_is_wanted(chat: Chat, mode: Any, wanted: bool) -> None:
    await dialogs.save(chat.connection, ADA, name="Ada", username=None)
    await dialogs.set_mode(chat.connection, ADA, mode)
    assert await chat.write() is wanted
    assert len(await chat.rows("messages")) == 1


async def test_service_messages_are_kept_and_not_answered(chat: Chat) -> None:
    assert not await chat.write(kind="service")
    assert len(await chat.rows("messages")) == 1


async def test_an_edit_that_overtook_its_message_wins(chat: Chat) -> None:
    edited = Message("bot", ADA, 1, False, chat.now, "right", source="received")
    assert await replies.receive_edit(chat.connection, edited, name="Ada", username=None, settings=SETTINGS, now=chat.now)
    assert not await chat.write("wrong", message_id=1)
    assert (await chat.rows("messages"))[0]["text"] == "right"


async def test_an_edit_of_what_was_answered_long_ago_drafts_nothing(chat: Chat) -> None:
    await chat.write("first", message_id=1)
    draft = await chat.draft()
    assert draft
    await decisions.send(chat.connection, draft.id, chat.now)
    await chat.write("second", message_id=5)
    edited = Message("bot", ADA, 1, False, chat.now, "first!", source="received")
    assert not await replies.receive_edit(chat.connection, edited, name="Ada", username=None, settings=SETTINGS, now=chat.now)


# --- drafting ---


async def test_a_draft_knows_what_it_answers_and_who_wrote_it(chat: Chat) -> None:
    await chat.write(message_id=41)
    draft = await chat.draft("one\ntwo")
    assert draft
    assert (draft.answers_message_id, draft.adapter, draft.variant, draft.state, draft.text) == (41, "ada-1", 1, "pending", "one\ntwo")
    assert await chat.rows("replies_due") == []


async def test_a_draft_that_was_overtaken_is_dropped(chat: Chat) -> None:
    await chat.write()
    job = await chat.job()
    assert job
    prepared = await drafting.prepare(chat.connection, job, SETTINGS, chat.now)
    assert prepared
    chat.now += timedelta(seconds=5)
    await chat.write("wait")
    assert await drafting.propose(chat.connection, job, prepared, Proposal("hi"), SETTINGS, chat.now) is None
    assert await chat.rows("drafts") == []
    assert len(await chat.rows("replies_due")) == 1


async def test_a_conversation_that_the_owner_ended_is_not_answered(chat: Chat) -> None:
    await chat.write()
    own = Message("account", ADA, 900, True, chat.now + timedelta(seconds=1), "i answered by hand")
    await messages.save(chat.connection, [own])
    (draft,) = [await chat.draft()]
    assert draft is not None  # the bot's chat is not the account's: what was asked there is answered there
    await decisions.send(chat.connection, draft.id, chat.now)
    await due.put(chat.connection, "bot", ADA, chat.now)
    for bubble in await chat.rows("outbox"):
        row = await outbox.get(chat.connection, bubble["id"])
        assert row
        begun = await sending.begin(chat.connection, row, chat.now)
        assert begun
        await sending.arrived(chat.connection, begun, message_id=50, sent_at=chat.now, settings=SETTINGS, now=chat.now)
    assert await chat.draft() is None
    assert await chat.rows("replies_due") == []


async def test_the_limit_of_the_hour_delays_and_loses_nothing(chat: Chat) -> None:
    for _ in range(4):
        await chat.write()
        assert await chat.draft()
    await chat.write()
    job = await chat.job()
    assert job
    until = await drafting.held_back_until(chat.connection, job, SETTINGS, chat.now)
    assert until == (await chat.rows("drafts"))[0]["created_at"] + timedelta(hours=1, seconds=1)
    assert job.due
    await due.move(chat.connection, job.due, until, attempts=0, failing_since=None)
    later = await chat.job()
    assert later
    assert later.at == until
    assert await drafting.held_back_until(chat.connection, later, SETTINGS, until) is None


async def test_a_failing_engine_is_asked_less_and_less_often(chat: Chat) -> None:
    await chat.write()
    pauses = []
    for _ in range(8):
        job = await chat.job()
        assert job
        pauses.append((await drafting.put_off(chat.connection, job, DEAD, chat.now) - chat.now).total_seconds())
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
    assert len(await chat.rows("notices")) == 1
    assert await drafting.end_outage(chat.connection, chat.now)
    assert not await drafting.end_outage(chat.connection, chat.now)
    assert [row["text"].split(":")[0] for row in await chat.rows("notices")] == [
        "I cannot answer at the moment",
        "The engine answers again. The messages that waited are being drafted now.",
    ]


async def test_a_single_refusal_is_no_outage(chat: Chat) -> None:
    await chat.write()
    job = await chat.job()
    assert job
    await drafting.put_off(chat.connection, job, REFUSED, chat.now)
    assert await chat.rows("notices") == []
    assert await facts.get(chat.connection, drafting.OUTAGE) is None


@pytest.mark.parametrize(
    ("generated", "kept"),
    [
        ("one\n\n  \ntwo ", "one\ntwo"),
        ("", ""),
        (" \n ", ""),
        ("x" * 5000, "x" * 2999 + "…"),
        ("a" * 1500 + "\n" + "b" * 1600, "a" * 1500),
    ],
)
def test_a_generated_turn_is_made_to_fit(generated: str, kept: str) -> None:
    assert drafting.fit_draft(generated) == kept


# --- deciding ---


async def test_undecided_drafts_expire_and_decided_ones_do_not(chat: Chat) -> None:
    await chat.write()
    first = await chat.draft()
    assert first
    await decisions.skip(chat.connection, first.id, chat.now, variant=1)
    await chat.write(dialog_id=8)
    second = await chat.draft()
    assert second
    assert await replies.expire(chat.connection, SETTINGS, chat.now + timedelta(hours=23)) == []
    assert await replies.expire(chat.connection, SETTINGS, chat.now + timedelta(hours=25)) == [second.id]
    assert [row["state"] for row in await chat.rows("drafts")] == ["rejected", "expired"]
    assert (await decisions.undo(chat.connection, first.id, SETTINGS, chat.now + timedelta(hours=25))).what == "decided"


async def test_a_new_message_takes_undo_from_the_card_that_was_skipped_last(chat: Chat) -> None:
    revisions = []
    for _ in range(2):
        await chat.write()
        draft = await chat.draft()
        assert draft
        await decisions.skip(chat.connection, draft.id, chat.now, variant=1)
        revisions.append([row["revision"] for row in await chat.rows("drafts")])
    await chat.write()
    revisions.append([row["revision"] for row in await chat.rows("drafts")])
    assert revisions == [[2], [3, 2], [3, 3]]


async def test_an_answered_prompt_is_not_answered_twice(chat: Chat) -> None:
    await chat.write()
    draft = await chat.draft()
    assert draft
    await prompts.add(chat.connection, 500, draft.id, chat.now)
    assert (await decisions.edit(chat.connection, draft.id, "mine", chat.now)).what == "done"
    assert await prompts.newest_open(chat.connection, START) is None
    assert (await decisions.edit(chat.connection, draft.id, "mine", chat.now)).what == "decided"
    assert len(await chat.rows("outbox")) == 1


async def test_switching_a_contact_off_withdraws_what_waits(chat: Chat) -> None:
    await chat.write()
    draft = await chat.draft()
    await chat.write(dialog_id=8)
    await replies.set_mode(chat.connection, 8, "off", SETTINGS, chat.now)
    await replies.set_mode(chat.connection, ADA, "off", SETTINGS, chat.now)
    assert await chat.rows("replies_due") == []
    assert draft
    assert (await chat.rows("drafts"))[0]["reason"] == replies.SWITCHED_OFF


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_the_order_an_approval_sends_once_and_nothing_else_is_sent(chat: Chat, seed: int) -> None:
    """25 random steps a seed: 1,000 interleavings of messages, taps, edits, expiry and sends."""
    chance = random.Random(seed)
    approved: dict[int, str] = {}
    for step in range(25):
        chat.now += timedelta(seconds=chance.choice((1, 5, 5000)))
        known = [row["id"] for row in await chat.rows("drafts")] or [99]
        draft_id, variant = chance.choice(known), chance.choice((1, 1, 2, None))
        match chance.randrange(9):
            case 0 | 1:
                await chat.write(f"message {step}", dialog_id=chance.choice((ADA, 8)))
            case 2 | 3:
                await chat.draft(f"answer {step}\nmore {step}")
            case 4:
                verdict = await decisions.send(chat.connection, draft_id, chat.now, variant=variant)
                if verdict.what == "done" and verdict.draft:
                    assert draft_id not in approved
                    approved[draft_id] = verdict.draft.text
            case 5:
                verdict = await decisions.edit(chat.connection, draft_id, f"own {step}", chat.now)
                if verdict.what == "done":
                    assert draft_id not in approved
                    approved[draft_id] = f"own {step}"
            case 6:
                await decisions.skip(chat.connection, draft_id, chat.now, variant=variant or 1)
            case 7:
                await decisions.undo(chat.connection, draft_id, SETTINGS, chat.now)
            case 8:
                await decisions.another(chat.connection, draft_id, SETTINGS, chat.now, variant=variant or 1)
        await replies.expire(chat.connection, SETTINGS, chat.now)
        waiting = [row["dialog_id"] for row in await chat.rows("drafts") if row["state"] == "pending"]
        assert len(waiting) == len(set(waiting)), "two cards wait for one chat"
    sent: dict[int, list[str]] = {}
    for row in await chat.rows("outbox"):
        sent.setdefault(row["draft_id"], []).append(row["text"])
    assert {draft_id: "\n".join(bubbles) for draft_id, bubbles in sent.items()} == approved
    for row in await chat.rows("drafts"):
        assert (row["state"] in ("approved", "edited")) == (row["id"] in approved)


# --- sending ---


async def _approved(chat: Chat, text: str = "one\ntwo") -> list[outbox.Bubble]:
    await chat.write()
    draft = await chat.draft(text)
    assert draft
    await decisions.send(chat.connection, draft.id, chat.now)
    return await outbox.of_draft(chat.connection, draft.id)


async def test_bubbles_go_in_order_and_wait_their_pause(chat: Chat) -> None:
    await _approved(chat)
    first = await outbox.first(chat.connection)
    assert first
    assert first.position == 0
    begun = await sending.begin(chat.connection, first, chat.now)
    assert begun
    assert await outbox.first(chat.connection) is None
    assert await sending.begin(chat.connection, first, chat.now) is None
    assert await sending.arrived(chat.connection, begun, message_id=9, sent_at=chat.now, settings=SETTINGS, now=chat.now)
    second = await outbox.first(chat.connection)
    assert second
    assert second.not_before_at == chat.now + timedelta(seconds=SETTINGS.bot.bubble_seconds)


async def test_what_was_being_sent_when_the_process_died_is_in_doubt(chat: Chat) -> None:
    (first, _) = await _approved(chat)
    begun = await sending.begin(chat.connection, first, chat.now)
    assert begun
    assert await sending.recover(chat.connection, SETTINGS, chat.now) == 1
    (notice,) = await notices.untold(chat.connection)
    assert notice.outbox_id == first.id
    assert await outbox.first(chat.connection) is None
    said = {"settings": SETTINGS, "now": chat.now}
    assert await sending.answer_doubt(chat.connection, first.id, begun.try_number, it_arrived=True, **said)
    assert not await sending.answer_doubt(chat.connection, first.id, begun.try_number, it_arrived=False, **said)
    (row,) = [row for row in await chat.rows("messages") if row["out"]]
    assert row["message_id"] == -first.id


async def test_what_the_owner_said_of_one_try_is_not_taken_for_the_next(chat: Chat) -> None:
    """Two questions about one try, both answered "Send again": the second answer is read when the second try is in doubt itself."""
    (first, _) = await _approved(chat)
    said = {"it_arrived": False, "settings": SETTINGS}
    begun = await sending.begin(chat.connection, first, chat.now)
    assert begun
    await sending.recover(chat.connection, SETTINGS, chat.now)
    assert await sending.answer_doubt(chat.connection, first.id, begun.try_number, now=chat.now, **said)
    again = await outbox.first(chat.connection)
    assert again
    later = chat.now + timedelta(seconds=1)
    tried_again = await sending.begin(chat.connection, again, later)
    assert tried_again
    await sending.recover(chat.connection, SETTINGS, later)
    assert not await sending.answer_doubt(chat.connection, first.id, begun.try_number, now=later, **said)
    assert (await chat.rows("outbox"))[0]["state"] == "uncertain"
    assert await sending.answer_doubt(chat.connection, first.id, tried_again.try_number, now=later, **said)


async def test_a_refusal_fails_the_rest_of_the_draft_and_is_told(chat: Chat) -> None:
    (first, _) = await _approved(chat)
    begun = await sending.begin(chat.connection, first, chat.now)
    assert begun
    await sending.fail(chat.connection, begun, "they have blocked the bot", SETTINGS, chat.now)
    assert [row["state"] for row in await chat.rows("outbox")] == ["failed", "failed"]
    assert (await chat.rows("drafts"))[0]["state"] == "failed"
    assert "Ada: they have blocked the bot" in (await notices.untold(chat.connection))[0].text


async def test_doubt_in_the_owners_own_chat_is_no_question(chat: Chat) -> None:
    own = Message("bot", OWNER, 3, False, chat.now, "hi", source="received")
    assert await replies.receive_from_owner(chat.connection, own, name="Olga", now=chat.now)
    draft = await chat.draft("hello")
    assert draft
    assert await decisions.approve_own(chat.connection, draft, chat.now)
    bubble = await outbox.first(chat.connection)
    assert bubble
    begun = await sending.begin(chat.connection, bubble, chat.now)
    assert begun
    await sending.doubt(chat.connection, begun, SETTINGS, chat.now)
    assert await notices.untold(chat.connection) == []
    assert await outbox.first(chat.connection)


async def test_a_new_message_waits_for_the_end_of_the_answer_unless_that_stands_still(chat: Chat) -> None:
    (first, second) = await _approved(chat)
    await chat.write("one more thing")
    assert await chat.job() is None
    begun = await sending.begin(chat.connection, first, chat.now)
    assert begun
    await sending.doubt(chat.connection, begun, SETTINGS, chat.now)
    assert await chat.job() is not None
    assert (await outbox.get(chat.connection, second.id)) == second
