"""The rows of the outbox: which of them come next, which may have arrived, and what changes them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest
from chat_scene import ADA, BEN, EVE, Chat, put, texts

from twin.store import drafts, outbox

SECOND = timedelta(seconds=1)


class Step(NamedTuple):
    typing_at: datetime
    not_before_at: datetime


@pytest.mark.parametrize("state", ["waiting", "sending", "unheard", "uncertain"])
async def test_nothing_passes_what_has_not_settled_before_it(chat: Chat, state: Any) -> None:
    (earlier,) = await put(chat, "first", not_before_at=chat.now + SECOND)
    await put(chat, "second")
    await put(chat, "other channel", channel="bot")
    await put(chat, "other chat", dialog_id=BEN)
    await outbox.move(chat.connection, earlier, state)
    ready = await outbox.ready(chat.connection, chat.now, limit=9)
    assert texts(ready) == ["other channel", "other chat"]


@pytest.mark.parametrize("state", ["sent", "failed", "cancelled", "retracting", "retracted"])
async def test_what_has_settled_lets_the_next_one_pass(chat: Chat, state: Any) -> None:
    (earlier,) = await put(chat, "first")
    await put(chat, "second")
    await outbox.move(chat.connection, earlier, state)
    assert texts(await outbox.ready(chat.connection, chat.now, limit=9)) == ["second"]
    first = await outbox.first(chat.connection)
    assert first
    assert first.text == "second"


async def test_what_need_not_wait_goes_before_what_must(chat: Chat) -> None:
    await put(chat, "ada", not_before_at=chat.now)
    await put(chat, "ben", dialog_id=BEN)
    assert texts(await outbox.ready(chat.connection, chat.now, limit=9)) == ["ben", "ada"]
    assert await outbox.later(chat.connection, chat.now, limit=9) == []
    assert texts(await outbox.later(chat.connection, chat.now - SECOND, limit=9)) == ["ada"]


async def test_an_account_that_is_held_keeps_its_chats_and_not_those_of_the_bot(chat: Chat) -> None:
    await put(chat, "ada")
    await put(chat, "ben", dialog_id=BEN)
    await put(chat, "bots", channel="bot")

    async def ready(held: set[int] | None, only: int | None = None) -> list[str]:
        return texts(await outbox.ready(chat.connection, chat.now, limit=9, held=held, only=only))

    assert await ready(set()) == ["ada", "ben", "bots"]
    assert await ready({ADA}) == ["ben", "bots"]
    assert await ready(None) == ["bots"]
    assert await ready(set(), only=BEN) == ["ben"]
    assert await ready(set(), only=EVE) == []


async def test_a_send_of_ours_is_known_by_its_number_in_its_chat(chat: Chat) -> None:
    await put(chat, sent_message_id=50)

    async def is_recorded(channel: str = "account", dialog_id: int = ADA, message_id: int = 50) -> bool:
        return await outbox.is_recorded(chat.connection, channel, dialog_id, message_id)

    assert await is_recorded()
    assert not await is_recorded(channel="bot")
    assert not await is_recorded(dialog_id=BEN)
    assert not await is_recorded(message_id=51)


async def in_doubt(chat: Chat, channel: str = "account", dialog_id: int = ADA) -> list[str]:
    return texts(await outbox.in_doubt(chat.connection, channel, dialog_id))


@pytest.mark.parametrize(
    ("state", "way", "was_tried", "may_have_arrived"),
    [
        ("sending", "bot", True, True),
        ("unheard", "business", True, True),
        ("uncertain", "bot", True, True),
        ("waiting", "session", True, True),
        ("waiting", "session", False, False),
        ("waiting", "business", True, False),
        ("waiting", None, True, False),
        ("sent", "session", True, False),
        ("cancelled", "session", True, False),
    ],
)
async def test_what_may_have_arrived(chat: Chat, state: Any, way: Any, was_tried: bool, may_have_arrived: bool) -> None:
    tried_at: datetime | None = chat.now if was_tried else None
    (bubble,) = await put(chat, "x", way=way, tried_at=tried_at)
    await outbox.move(chat.connection, bubble, state)
    assert await in_doubt(chat) == (["x"] if may_have_arrived else [])
    assert await in_doubt(chat, channel="bot") == []
    assert await in_doubt(chat, dialog_id=BEN) == []


async def test_what_the_session_tries_again_is_known(chat: Chat) -> None:
    (mine,) = await put(chat, way="session")
    await put(chat, way="business")
    (sent,) = await put(chat, way="session")
    await outbox.move(chat.connection, sent, "sent")
    assert await outbox.tried_by_session(chat.connection) == {mine.id}


async def test_a_refusal_fails_the_bubbles_after_it_and_no_others(chat: Chat) -> None:
    first, second, third = await put(chat, "1\n2\n3")
    await put(chat, "other")
    await outbox.move(chat.connection, first, "sent")
    await outbox.fail_rest(chat.connection, second, "no")
    assert await chat.states() == ["sent", "waiting", "failed", "waiting"]
    assert third.position == 2


async def test_what_the_twin_let_go_is_told_from_what_the_owner_did(chat: Chat) -> None:
    await chat.approved("mine")
    await chat.approved("its\nown", action="auto")
    found = await outbox.unsettled_automatic(chat.connection, "account", ADA)
    assert texts(found) == ["its", "own"]
    for bubble in found:
        await outbox.move(chat.connection, bubble, "sent")
    assert await outbox.unsettled_automatic(chat.connection, "account", ADA) == []


async def test_only_what_was_cancelled_of_a_draft_makes_room(chat: Chat) -> None:
    first, second = await put(chat, "1\n2")
    (other,) = await put(chat, "other")
    for bubble in (second, other):
        await outbox.move(chat.connection, bubble, "cancelled")
    await outbox.forget_cancelled(chat.connection, first.draft_id)
    assert [row["text"] for row in await chat.rows("outbox")] == ["1", "other"]


async def test_a_bubble_moves_from_the_state_in_which_it_was_read_alone(chat: Chat) -> None:
    first, second = await put(chat, "1\n2")
    assert await outbox.move(chat.connection, first, "sending")
    assert not await outbox.move(chat.connection, first, "sent")
    assert await chat.states() == ["sending", "waiting"]
    await outbox.change(chat.connection, second.id, error="x")
    assert [row["error"] for row in await chat.rows("outbox")] == [None, "x"]
    assert await outbox.get(chat.connection, 99) is None
    assert first.try_number == 0
    assert (await chat.begun(second)).try_number == int(chat.now.timestamp() * 1000)


async def test_bubbles_without_a_plan_have_no_time_yet(chat: Chat) -> None:
    draft = await drafts.add(chat.connection, channel="bot", dialog_id=ADA, answers_message_id=1, text="a\nb", at=chat.now)
    await outbox.add(chat.connection, draft, ["a", "b"], [Step(chat.now, chat.now + SECOND)])
    found = await outbox.of_draft(chat.connection, draft.id)
    assert [(b.typing_at, b.not_before_at) for b in found] == [(chat.now, chat.now + SECOND), (None, None)]
    assert await outbox.counts(chat.connection) == {"waiting": 2}
