"""The outbox: what each outcome of a send means for its bubble, its draft and the owner, without Telegram."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from chat_scene import ADA, OWNER, SETTINGS, Chat, arrive, at, revision, told

from twin import sending
from twin.store import dialogs, drafts, messages, notices, outbox
from twin.store.outbox import Bubble
from twin.turns import Message

SECOND = timedelta(seconds=1)


async def echo(chat: Chat, text: str, message_id: int, way: Any = "business") -> bool:
    return await sending.echo(chat.connection, ADA, message_id, text, chat.now, settings=SETTINGS, now=chat.now, way=way)


async def in_own_chat(chat: Chat) -> Bubble:
    """The twin's answer to its owner, in flight."""
    draft = await drafts.add(chat.connection, channel="bot", dialog_id=OWNER, answers_message_id=1, text="x", at=chat.now)
    await drafts.change(chat.connection, draft, state="approved")
    await outbox.add(chat.connection, draft, ["x"])
    return await chat.begun((await outbox.of_draft(chat.connection, draft.id))[0], "bot")


# --- it arrived -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("author", "action", "source"),
    [("twin", "send", "twin"), ("twin", "auto", "twin"), ("twin", "edit", "owner"), ("owner", "send", "owner")],
)
async def test_words_are_the_owners_if_he_wrote_or_edited_them(chat: Chat, author: str, action: str, source: str) -> None:
    await chat.writes()
    (bubble,) = await chat.approved("yes", action=action)
    draft = await drafts.get(chat.connection, bubble.draft_id)
    assert draft
    await drafts.change(chat.connection, draft, author=author)
    await arrive(chat, await chat.begun(bubble))
    assert (await chat.rows("messages"))[-1]["source"] == source


async def test_what_a_collection_has_read_meanwhile_is_not_the_owners(chat: Chat) -> None:
    await chat.writes()
    (bubble,) = await chat.approved("yes")
    read = Message("account", ADA, 50, True, chat.now, "yes", source="collected")
    await messages.save(chat.connection, [read])
    await arrive(chat, await chat.begun(bubble))
    assert [(row["message_id"], row["source"]) for row in await chat.rows("messages") if row["out"]] == [(50, "twin")]


async def test_whoever_waits_for_the_next_bubble_is_told_that_there_is_one(chat: Chat) -> None:
    await chat.writes()
    first, second = await chat.approved("one\ntwo")
    going = await chat.begun(first)
    before = await revision(chat)
    assert await arrive(chat, going, 50)
    assert await revision(chat) == before + 1, "its card says how many have arrived"
    assert await chat.ended() == ("sending", None)
    assert not await arrive(chat, await chat.begun(await at(chat, second)), 51)
    assert await chat.ended() == ("sent", None)


async def test_the_owner_has_his_time_to_take_back_from_the_last_bubble_on(chat: Chat) -> None:
    await chat.writes()
    first, second = await chat.approved("one\ntwo", action="auto")
    draft = await drafts.get(chat.connection, first.draft_id)
    assert draft
    early = chat.now + SECOND
    await drafts.change(chat.connection, draft, undo_until=early)

    async def undo_until() -> datetime:
        found: datetime = (await chat.rows("drafts"))[-1]["undo_until"]
        return found

    await arrive(chat, await chat.begun(first), 50)
    assert await undo_until() == early
    chat.now += timedelta(hours=1)  # a flood limit
    await arrive(chat, await chat.begun(await at(chat, second)), 51)
    assert await undo_until() == chat.now + timedelta(seconds=SETTINGS.auto.undo_seconds)


async def test_an_answer_that_cannot_be_taken_back_stays_so(chat: Chat) -> None:
    await chat.writes()
    (bubble,) = await chat.approved("yes")
    await arrive(chat, await chat.begun(bubble))
    assert (await chat.rows("drafts"))[-1]["undo_until"] is None


async def test_only_the_bubble_that_was_taken_back_is_deleted_when_it_arrives(chat: Chat) -> None:
    await chat.writes()
    first, second = await chat.approved("one\ntwo")
    await outbox.change(chat.connection, second.id, error=sending.TAKEN_BACK)
    await arrive(chat, await chat.begun(first), 50)
    assert await chat.states() == ["sent", "waiting"]


# --- it did not -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keeps_way", "way"), [(False, None), (True, "session")])
async def test_what_an_earlier_try_may_have_sent_waits_for_the_same_way(chat: Chat, keeps_way: bool, way: str | None) -> None:
    await chat.writes()
    (bubble,) = await chat.approved("yes")
    going = await chat.begun(bubble, "session")
    await sending.wait(chat.connection, going, chat.now + SECOND, chat.now, keeps_way=keeps_way)
    found = await at(chat, bubble)
    assert (found.state, found.way, found.not_before_at) == ("waiting", way, chat.now + SECOND)


async def test_a_refusal_ends_the_answer_and_the_owner_is_told_once(chat: Chat) -> None:
    await chat.writes()
    going = await chat.begun((await chat.approved("one\ntwo"))[0])
    for _ in range(2):
        await sending.fail(chat.connection, going, "they have blocked you", SETTINGS, chat.now)
    assert await chat.states() == ["failed", "failed"]
    assert await chat.ended() == ("failed", "they have blocked you")
    assert await told(chat) == ["Draft 1 could not be sent to Ada: they have blocked you."]


async def test_a_refusal_of_what_is_not_wanted_any_more_is_no_news(chat: Chat) -> None:
    await chat.writes()
    (bubble,) = await chat.approved("one")
    going = await chat.begun(bubble)
    await sending.cancel_waiting(chat.connection, "account", ADA, "taken over", chat.now)
    await sending.fail(chat.connection, going, "they have blocked you", SETTINGS, chat.now)
    assert await chat.states() == ["cancelled"]
    assert await chat.ended() == ("expired", "taken over")
    assert await told(chat) == []


async def test_a_refusal_in_the_owners_own_chat_is_not_told_there(chat: Chat) -> None:
    await sending.fail(chat.connection, await in_own_chat(chat), "no", SETTINGS, chat.now)
    assert await chat.states() == ["failed"]
    assert await told(chat) == []


# --- nobody knows -----------------------------------------------------------------------------------------------------


async def test_the_owners_own_chat_may_have_an_answer_twice(chat: Chat) -> None:
    await sending.doubt(chat.connection, await in_own_chat(chat), SETTINGS, chat.now)
    assert await chat.states() == ["waiting"]
    assert await told(chat) == []


@pytest.mark.parametrize(
    ("way", "is_wanted", "state", "seconds"),
    [
        ("session", True, "waiting", 7),
        ("session", False, "unheard", 0),
        ("business", True, "unheard", 10),
        ("business", False, "unheard", 10),
    ],
)
async def test_what_may_have_gone_is_repeated_by_the_session_alone_and_only_if_it_is_wanted(
    chat: Chat, way: Any, is_wanted: bool, state: str, seconds: int
) -> None:
    await chat.writes()
    going = await chat.begun((await chat.approved("yes"))[0], way)
    if not is_wanted:
        await sending.cancel_waiting(chat.connection, "account", ADA, "taken over", chat.now)
    await sending.doubt(chat.connection, going, SETTINGS, chat.now, seconds=7)
    found = await at(chat, going)
    assert (found.state, found.not_before_at) == (state, chat.now + seconds * SECOND)
    assert await told(chat) == []


@pytest.mark.parametrize("is_wanted", [True, False])
async def test_the_owner_is_asked_once_about_what_the_bot_may_have_sent(chat: Chat, is_wanted: bool) -> None:
    await chat.writes()
    going = await chat.begun((await chat.approved("yes"))[0], "bot")
    if not is_wanted:
        await outbox.change(chat.connection, going.id, error="taken over")
    before = await revision(chat)
    for _ in range(2):
        await sending.doubt(chat.connection, going, SETTINGS, chat.now)
    assert await chat.states() == ["uncertain"]
    assert len(await told(chat)) == 1
    assert await revision(chat) == before + 1


async def test_a_contact_without_a_name_is_called_by_the_id(chat: Chat) -> None:
    going = await chat.begun((await chat.approved("yes"))[0], "bot")
    assert await sending.name_of(chat.connection, going) == "contact 201"
    await dialogs.save(chat.connection, ADA, name="", username=None)
    assert await sending.name_of(chat.connection, going) == "contact 201"
    await dialogs.save(chat.connection, ADA, name="Ada", username=None)
    assert await sending.name_of(chat.connection, going) == "Ada"


async def test_after_a_restart_echoes_are_waited_for_anew(chat: Chat) -> None:
    await chat.writes()
    going = await chat.begun((await chat.approved("yes"))[0])
    await sending.doubt(chat.connection, going, SETTINGS, chat.now)
    chat.now += timedelta(hours=1)
    assert await sending.recover(chat.connection, SETTINGS, chat.now) == 0
    assert (await at(chat, going)).not_before_at == chat.now + 10 * SECOND


async def answer(chat: Chat, bubble: Bubble, *, it_arrived: bool, tried: int | None = None) -> bool:
    number = bubble.try_number if tried is None else tried
    return await sending.answer_doubt(chat.connection, bubble.id, number, it_arrived=it_arrived, settings=SETTINGS, now=chat.now)


async def test_the_owners_word_counts_for_the_try_that_he_was_asked_about(chat: Chat) -> None:
    await chat.writes()
    going = await chat.begun((await chat.approved("yes"))[0], "bot")
    assert not await answer(chat, going, it_arrived=True), "it is not in doubt yet"
    await sending.ask(chat.connection, going, chat.now)
    assert not await answer(chat, going, it_arrived=True, tried=going.try_number - 1)
    assert not await answer(chat, going._replace(id=99), it_arrived=True)
    assert await chat.states() == ["uncertain"]
    assert await answer(chat, going, it_arrived=True)
    assert await chat.states() == ["sent"]
    assert [row["message_id"] for row in await chat.rows("messages") if row["out"]] == [-going.id]


async def test_a_message_that_arrived_by_the_owners_word_is_dated_by_its_try(chat: Chat) -> None:
    await chat.writes()
    going = await chat.begun((await chat.approved("yes"))[0], "bot")
    await sending.ask(chat.connection, going, chat.now)
    tried_at = chat.now
    chat.now += timedelta(hours=1)
    assert await answer(chat, going, it_arrived=True)
    assert (await chat.rows("messages"))[-1]["sent_at"] == tried_at


async def test_a_send_of_an_older_version_is_dated_by_the_owners_word(chat: Chat) -> None:
    """Before migrations noted when a bubble was tried."""
    await chat.writes()
    (bubble,) = await chat.approved("yes")
    await outbox.move(chat.connection, bubble, "uncertain")
    assert await answer(chat, bubble, it_arrived=True)
    assert (await chat.rows("messages"))[-1]["sent_at"] == chat.now


@pytest.mark.parametrize(("is_wanted", "state"), [(True, "waiting"), (False, "cancelled")])
async def test_what_did_not_arrive_goes_again_if_it_is_still_wanted(chat: Chat, is_wanted: bool, state: str) -> None:
    await chat.writes()
    going = await chat.begun((await chat.approved("yes"))[0], "bot")
    await sending.ask(chat.connection, going, chat.now)
    if not is_wanted:
        await sending.cancel_waiting(chat.connection, "account", ADA, "taken over", chat.now)
    assert await answer(chat, going, it_arrived=False)
    assert await chat.states() == [state]


async def test_a_chat_that_was_forgotten_while_something_was_in_flight_stays_forgotten(chat: Chat) -> None:
    await chat.writes()
    going = await chat.begun((await chat.approved("one\ntwo"))[0], "session")
    await dialogs.erase(chat.connection, ADA)
    assert not await arrive(chat, going)
    await sending.wait(chat.connection, going, chat.now, chat.now)
    await sending.doubt(chat.connection, going, SETTINGS, chat.now)
    await sending.missing(chat.connection, going, chat.now)
    await sending.ask(chat.connection, going, chat.now)
    await sending.fail(chat.connection, going, "no", SETTINGS, chat.now)
    await sending.not_taken_back(chat.connection, going, "no", chat.now)
    await sending.taken_back(chat.connection, going, chat.now)
    for table in ("outbox", "drafts", "messages"):
        assert await chat.rows(table) == []


# --- echoes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "is_ours"), [("twin", True), ("owner", True), ("collected", False), ("business", False)])
async def test_a_message_that_is_known_is_ours_if_the_twin_sent_it(chat: Chat, source: str, is_ours: bool) -> None:
    await messages.save(chat.connection, [Message("account", ADA, 50, True, chat.now, "ok", source=source)])
    assert await echo(chat, "ok", 50) == is_ours


async def test_the_owners_own_words_do_not_settle_the_same_words_of_the_twin(chat: Chat) -> None:
    await chat.writes()
    (bubble,) = await chat.approved("ok")
    await chat.begun(bubble)
    await messages.save(chat.connection, [Message("account", ADA, 50, True, chat.now, "ok", source="collected")])
    assert not await echo(chat, "ok", 50)
    assert await chat.states() == ["sending"]


async def test_what_the_owner_said_had_arrived_is_known_by_its_number_when_its_echo_comes(chat: Chat) -> None:
    await chat.writes()
    (bubble,) = await chat.approved("ok")
    going = await chat.begun(bubble)
    await sending.ask(chat.connection, going, chat.now)
    assert await answer(chat, going, it_arrived=True)
    assert not await echo(chat, "other words", 50)
    assert not await echo(chat, "ok", 50, "session")
    assert (await at(chat, going)).sent_message_id is None
    assert await echo(chat, " ok ", 50)
    assert (await at(chat, going)).sent_message_id == 50
    assert [row["message_id"] for row in await chat.rows("messages") if row["out"]] == [50]


async def test_one_echo_settles_one_of_two_that_are_alike(chat: Chat) -> None:
    await chat.writes()
    for _ in range(2):
        (bubble,) = await chat.approved("ok")
        await chat.begun(bubble)
    assert await echo(chat, "ok", 50)
    assert await chat.states() == ["sent", "sending"]


@pytest.mark.parametrize("was_asked", [True, False])
async def test_a_question_is_withdrawn_or_answered_when_what_it_asks_about_turns_up(chat: Chat, was_asked: bool) -> None:
    await chat.writes()
    going = await chat.begun((await chat.approved("ok"))[0])
    await sending.ask(chat.connection, going, chat.now)
    if was_asked:
        (question,) = await notices.untold(chat.connection)
        await notices.mark_told(chat.connection, question.id, chat.now)
    assert await echo(chat, "ok", 50)
    assert await told(chat) == (["It did reach Ada; you need not look."] if was_asked else [])


async def test_what_was_in_no_doubt_turns_up_without_a_word(chat: Chat) -> None:
    await chat.writes()
    await chat.begun((await chat.approved("ok"))[0])
    assert await echo(chat, "ok", 50)
    assert await told(chat) == []
