"""What is withdrawn before it went, and what is taken back when it is there."""

from __future__ import annotations

import pytest
from chat_scene import ADA, SETTINGS, Chat, arrive, at, revision, told

from twin import sending
from twin.store import drafts


async def test_what_a_session_may_have_sent_is_looked_for_when_it_is_withdrawn(chat: Chat) -> None:
    await chat.writes()
    going = await chat.begun((await chat.approved("yes"))[0], "session")
    await sending.doubt(chat.connection, going, SETTINGS, chat.now, seconds=60)
    assert await sending.cancel_waiting(chat.connection, "account", ADA, "taken over", chat.now) == 1
    found = await at(chat, going)
    assert (found.state, found.error, found.not_before_at) == ("unheard", "taken over", chat.now)
    assert await chat.ended() == ("sending", None)


async def test_an_answer_of_which_something_went_ends_as_sent(chat: Chat) -> None:
    await chat.writes()
    first, _ = await chat.approved("one\ntwo")
    await arrive(chat, await chat.begun(first))
    await sending.cancel_waiting(chat.connection, "account", ADA, "taken over", chat.now)
    assert await chat.ended() == ("sent", "taken over")


@pytest.mark.parametrize("state", ["rejected", "expired", "failed"])
async def test_what_has_ended_otherwise_is_not_taken_back(chat: Chat, state: str) -> None:
    await chat.writes()
    (bubble,) = await chat.approved("one")
    draft = await drafts.get(chat.connection, bubble.draft_id)
    assert draft
    await drafts.change(chat.connection, draft, state=state)
    assert await sending.retract(chat.connection, draft, chat.now) == 0
    assert await chat.ended() == (state, None)


async def test_what_is_there_but_nobody_knows_where_cannot_be_taken_back(chat: Chat) -> None:
    await chat.writes()
    (bubble,) = await chat.approved("one")
    await arrive(chat, await chat.begun(bubble), None)
    draft = await drafts.get(chat.connection, bubble.draft_id)
    assert draft
    assert await sending.retract(chat.connection, draft, chat.now) == 1
    assert await chat.states() == ["sent"]
    assert await chat.ended() == ("sent", sending.KEPT)
    assert await told(chat) == ["I could not take back what went to Ada: nobody knows which message it is."]


async def test_what_cannot_be_taken_back_changes_only_a_draft_that_was_to_be(chat: Chat) -> None:
    await chat.writes()
    (bubble,) = await chat.approved("one")
    await arrive(chat, await chat.begun(bubble))
    await sending.not_taken_back(chat.connection, await at(chat, bubble), "no", chat.now)
    assert await chat.ended() == ("sent", None)


async def test_a_message_is_marked_as_deleted_once_it_is(chat: Chat) -> None:
    await chat.writes()
    (bubble,) = await chat.approved("one")
    await arrive(chat, await chat.begun(bubble))
    sent = await at(chat, bubble)
    await sending.taken_back(chat.connection, sent._replace(state="retracting"), chat.now)
    assert [row["text"] for row in await chat.rows("messages") if row["out"]] == ["one"], "it is not being taken back"
    await sending.take_back(chat.connection, sent, chat.now)
    before = await revision(chat)
    await sending.taken_back(chat.connection, await at(chat, bubble), chat.now)
    assert [row["text"] for row in await chat.rows("messages") if row["out"]] == [""]
    assert await revision(chat) == before + 1
