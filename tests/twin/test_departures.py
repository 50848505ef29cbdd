"""Which bubbles may go now and by which way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from chat_scene import ADA, BEN, EVE, OWNER, SETTINGS, Chat, put, texts

from twin import departures, sending, silence
from twin.departures import Departures, Outlook
from twin.settings import Settings
from twin.store import connections, dialogs, inbox, outbox
from twin.store.outbox import Bubble

SECOND = timedelta(seconds=1)
ALL_WAYS: Any = ("bot", "business", "session")


async def happened(chat: Chat, update_id: int, *, dialog_id: int | None) -> None:
    """Something of the owner's account is in the inbox and not handled: in one chat, or nobody knows where."""
    body: dict[str, Any] = {"business_message": {"chat": {"id": dialog_id}}} if dialog_id else {"business_connection": {"id": "bc"}}
    await inbox.keep(chat.connection, [{"update_id": update_id, **body}], chat.now)


async def connect(chat: Chat, **rights: bool) -> None:
    await connections.save(chat.connection, "bc", is_enabled=True, rights=rights, connected_at=chat.now, at=chat.now)


async def look(chat: Chat, *, room: int = 8, settings: Settings = SETTINGS) -> Outlook:
    return await departures.outlook(chat.connection, settings, chat.now, room=room)


async def go(chat: Chat, ways: Any = ALL_WAYS, *, room: int = 8, **more: Any) -> Departures:
    return await departures.begin_ready(chat.connection, ways, SETTINGS, chat.now, room=room, **more)


# --- what there is to do ----------------------------------------------------------------------------------------------


async def test_an_empty_outbox_asks_for_nothing(chat: Chat) -> None:
    assert await look(chat) == Outlook()
    (bubble,) = await put(chat)
    await chat.begun(bubble)
    assert await look(chat) == Outlook(), "what is in flight is for whoever sent it"


async def test_one_bubble_of_each_chat_is_ready_once_its_time_has_come(chat: Chat) -> None:
    await put(chat, "ada\nthen")
    await put(chat, "ben", dialog_id=BEN, not_before_at=chat.now)
    await put(chat, "eve", dialog_id=EVE, not_before_at=chat.now + SECOND)
    found = await look(chat)
    assert texts(found.ready) == ["ada", "ben"]
    assert found.next_at == chat.now + SECOND
    assert texts((await look(chat, room=1)).ready) == ["ada"]
    chat.now += SECOND
    assert texts((await look(chat)).ready) == ["ada", "ben", "eve"]


async def test_while_there_is_no_room_nothing_later_is_looked_at(chat: Chat) -> None:
    await put(chat, "ada")
    await put(chat, "eve", dialog_id=EVE, not_before_at=chat.now + SECOND, typing_at=chat.now)
    full = await look(chat, room=1)
    assert (full.next_at, full.typing) == (None, []), "something ends before anything else begins"
    roomy = await look(chat, room=2)
    assert (roomy.next_at, texts(roomy.typing)) == (chat.now + SECOND, ["eve"])
    assert (await look(chat, room=0)).next_at == chat.now + SECOND


@pytest.mark.parametrize(("begins_in", "is_typing", "next_in"), [(-1, True, 9), (0, True, 9), (1, False, 1)])
async def test_typing_is_shown_from_its_time_on(chat: Chat, begins_in: int, is_typing: bool, next_in: int) -> None:
    await put(chat, "ada", not_before_at=chat.now + 9 * SECOND, typing_at=chat.now + begins_in * SECOND)
    found = await look(chat)
    assert texts(found.typing) == (["ada"] if is_typing else [])
    assert found.next_at == chat.now + next_in * SECOND


async def test_a_bubble_without_typing_is_looked_at_when_it_goes(chat: Chat) -> None:
    await put(chat, "ada", not_before_at=chat.now + 9 * SECOND)
    found = await look(chat)
    assert (found.typing, found.next_at) == ([], chat.now + 9 * SECOND)


async def unheard(chat: Chat, *, dialog_id: int = ADA, seconds: int = 10) -> Bubble:
    """Sent through the connection; its echo is waited for so long."""
    (bubble,) = await put(chat, f"to {dialog_id}", dialog_id=dialog_id)
    await sending.doubt(chat.connection, await chat.begun(bubble), SETTINGS, chat.now)
    await outbox.change(chat.connection, bubble.id, not_before_at=chat.now + seconds * SECOND)
    return bubble


@pytest.mark.parametrize(("seconds", "lost", "next_in"), [(1, [], 1), (0, ["to 201"], None), (-1, ["to 201"], None)])
async def test_an_echo_is_waited_for_until_its_time_is_up(chat: Chat, seconds: int, lost: list[str], next_in: int | None) -> None:
    await unheard(chat, seconds=seconds)
    found = await look(chat)
    assert texts(found.lost) == lost
    assert found.next_at == (chat.now + next_in * SECOND if next_in else None)
    assert found.retracting == []


@pytest.mark.parametrize("is_due", [True, False])
async def test_what_is_taken_back_is_due_at_once_or_when_a_flood_limit_ends(chat: Chat, is_due: bool) -> None:
    (bubble,) = await put(chat, "ada")
    later = chat.now + SECOND
    await outbox.change(chat.connection, bubble.id, sent_message_id=50)
    await outbox.move(chat.connection, bubble, "retracting", not_before_at=None if is_due else later)
    found = await look(chat)
    assert texts(found.retracting) == (["ada"] if is_due else [])
    assert found.next_at == (None if is_due else later)
    assert found.lost == []


# --- silence, and an owner who may be writing -------------------------------------------------------------------------


async def test_after_pause_only_the_owners_own_chat_goes_on(chat: Chat) -> None:
    await put(chat, "ada")
    await put(chat, "ben", dialog_id=BEN, not_before_at=chat.now + 5 * SECOND, typing_at=chat.now)
    await put(chat, "you", dialog_id=OWNER, channel="bot")
    await silence.begin(chat.connection, chat.now)
    found = await look(chat)
    assert (texts(found.ready), found.typing) == (["you"], [])
    await put(chat, "one", dialog_id=1)
    nobody = Settings(_env_file=None)  # type: ignore[call-arg]
    assert (await look(chat, settings=nobody)).ready == [], "while nobody is known to be the owner, no chat is his"
    await silence.end(chat.connection)
    assert texts((await look(chat)).ready) == ["ada", "you", "one"]


async def test_typing_in_the_owners_own_chat_is_shown_after_pause_too(chat: Chat) -> None:
    await put(chat, "you", dialog_id=OWNER, channel="bot", not_before_at=chat.now + SECOND, typing_at=chat.now)
    await silence.begin(chat.connection, chat.now)
    assert texts((await look(chat)).typing) == ["you"]


@pytest.mark.parametrize("dialog_id", [ADA, None])
async def test_a_chat_with_something_unhandled_stands_still_and_is_looked_at_soon(chat: Chat, dialog_id: int | None) -> None:
    await put(chat, "ada")
    await put(chat, "bots", channel="bot")
    await put(chat, "ben", dialog_id=BEN)
    await happened(chat, 1, dialog_id=dialog_id)
    found = await look(chat)
    assert texts(found.ready) == (["bots", "ben"] if dialog_id else ["bots"])
    assert found.next_at == chat.now + timedelta(seconds=departures.HELD_SECONDS)
    await inbox.finish(chat.connection, 1, chat.now)
    found = await look(chat)
    assert (texts(found.ready), found.next_at) == (["ada", "bots", "ben"], None)


async def test_nothing_unhandled_matters_where_nothing_is_to_go_through_the_account(chat: Chat) -> None:
    await put(chat, "bots", channel="bot")
    await happened(chat, 1, dialog_id=None)
    found = await look(chat)
    assert (texts(found.ready), found.next_at) == (["bots"], None)


async def test_a_chat_that_holds_nothing_back_is_not_looked_at_sooner(chat: Chat) -> None:
    await put(chat, "later", not_before_at=chat.now + 60 * SECOND)
    await happened(chat, 1, dialog_id=BEN)
    assert (await look(chat)).next_at == chat.now + 60 * SECOND


async def test_neither_typing_nor_a_lost_echo_counts_where_the_owner_may_be_writing(chat: Chat) -> None:
    await unheard(chat, seconds=0)
    await put(chat, "ben", dialog_id=BEN, not_before_at=chat.now + 60 * SECOND, typing_at=chat.now)
    for update_id, dialog_id in enumerate((ADA, BEN)):
        await happened(chat, update_id, dialog_id=dialog_id)
    found = await look(chat)
    assert (found.lost, found.typing) == ([], [])
    assert found.next_at == chat.now + timedelta(seconds=departures.HELD_SECONDS)


async def test_a_silent_chat_keeps_what_the_twin_let_go_until_the_silence_ends(chat: Chat) -> None:
    await chat.writes()
    until = chat.now + timedelta(minutes=5)
    await dialogs.silence(chat.connection, ADA, until)
    (automatic,) = await chat.approved("by myself", action="auto")
    found = await go(chat)
    assert (found.begun, found.settled) == ([], True)
    held = await outbox.get(chat.connection, automatic.id)
    assert held
    assert (held.state, held.not_before_at, held.typing_at) == ("waiting", until, None)


# --- by which way -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rights", "ways", "found"),
    [
        (None, ALL_WAYS, ["session"]),
        (None, ("bot",), []),
        ({"can_reply": True}, ALL_WAYS, ["business", "session"]),
        ({"can_reply": True}, ("bot", "business"), ["business"]),
        ({"can_reply": True}, ("bot", "session"), ["session"]),
        ({"can_reply": False}, ALL_WAYS, ["session"]),
        ({"can_reply": False}, ("bot", "business"), []),
    ],
)
async def test_the_ways_into_a_chat_of_the_account(chat: Chat, rights: dict[str, bool] | None, ways: Any, found: list[str]) -> None:
    if rights is not None:
        await connect(chat, **rights)
    made = await connections.current(chat.connection)
    assert departures.open_ways("account", made, ways) == found
    assert departures.open_ways("bot", made, ways) == ["bot"]


@pytest.mark.parametrize(
    ("rights", "closed", "why"),
    [
        (None, {}, departures.UNCONNECTED),
        ({"can_reply": False}, {}, departures.MAY_NOT_REPLY),
        ({"can_reply": True}, {"business": "Telegram lets no bot answer"}, "Telegram lets no bot answer"),
    ],
)
async def test_what_no_way_is_left_for_fails_with_the_reason(
    chat: Chat, rights: dict[str, bool] | None, closed: dict[Any, str], why: str
) -> None:
    if rights is not None:
        await connect(chat, **rights)
    (bubble,) = await put(chat)
    found = await go(chat, ("bot", "business"), closed={bubble.id: closed})
    assert (found.begun, found.settled) == ([], True)
    assert await chat.ended() == ("failed", why)


async def test_a_way_that_turned_out_to_be_shut_is_passed_over(chat: Chat) -> None:
    await connect(chat, can_reply=True)
    (bubble,) = await put(chat)
    other: Any = {bubble.id + 1: {"session": "signed out"}, bubble.id: {"business": "no"}}
    found = await go(chat, closed=other)
    assert [going.way for going in found.begun] == ["session"]
    assert not found.settled


async def test_what_the_session_may_have_sent_goes_by_no_other_way(chat: Chat) -> None:
    await connect(chat, can_reply=True)
    await put(chat, "again", way="session")
    await put(chat, "asked", dialog_id=BEN, way="session")
    assert [going.way for going in (await go(chat, room=1)).begun] == ["session"]
    found = await go(chat, ("bot", "business"))
    assert (found.begun, found.settled) == ([], True)
    assert await chat.states() == ["sending", "uncertain"]


async def test_what_would_take_a_way_that_rests_waits_and_others_go(chat: Chat) -> None:
    await connect(chat, can_reply=True)
    await put(chat, "ada")
    await put(chat, "bots", channel="bot")
    found = await go(chat, room=1, resting=("business",))
    assert texts(found.begun) == ["bots"]
    assert not found.settled
    assert await chat.states() == ["waiting", "sending"]


async def test_no_more_go_than_there_is_room_for(chat: Chat) -> None:
    for dialog_id in (ADA, BEN, EVE):
        await put(chat, f"to {dialog_id}", dialog_id=dialog_id, channel="bot")
    assert texts((await go(chat, room=0)).begun) == []
    assert await chat.states() == ["waiting"] * 3
    assert texts((await go(chat, room=2, resting=("session",))).begun) == ["to 201", "to 202"]
    assert texts((await go(chat, room=2)).begun) == ["to 203"]
