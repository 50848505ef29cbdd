"""Taking over, echoes, taking back and comparing, without Telegram."""

from datetime import timedelta
from typing import Any

import pytest
from chat_scene import ADA, NOON, SETTINGS, Chat

from twin import account, departures, sending, shadow, takeover
from twin.store import comparisons, connections, dialogs, drafts, due, messages, notices, outbox
from twin.turns import Message

# --- taking over ---


async def test_a_takeover_ends_all_that_was_about_to_be_said_and_silences_the_dialog(chat: Chat) -> None:
    await chat.writes()
    await chat.approved()
    pending = await chat.draft("another")
    await due.put(chat.connection, "account", ADA, chat.now)
    assert await chat.owner_says("i am here")
    assert await chat.states() == ["cancelled", "cancelled"]
    assert [row["state"] for row in await chat.rows("drafts")] == ["expired", "expired"]
    assert {row["reason"] for row in await chat.rows("drafts")} == {"taken over"}
    assert await due.get(chat.connection, "account", ADA) is None
    assert (await chat.rows("dialogs"))[0]["silent_until"] == chat.now + timedelta(minutes=30)
    assert pending.id == (await chat.rows("comparisons"))[0]["draft_id"]


async def test_an_own_message_that_the_collector_read_first_takes_over_and_is_compared(chat: Chat) -> None:
    await chat.writes()
    pending = await chat.draft("i am here too")
    said = chat.message("i am here", out=True)._replace(source="collected")
    await messages.save(chat.connection, [said])
    once = {"name": "Ada", "username": None, "settings": SETTINGS, "now": chat.now}
    assert await account.owner_wrote(chat.connection, said, **once)  # type: ignore[arg-type]
    assert await chat.ended() == ("expired", "taken over")
    assert (await chat.rows("dialogs"))[0]["silent_until"] == chat.now + timedelta(minutes=30)
    assert [row["draft_id"] for row in await chat.rows("comparisons")] == [pending.id]


async def test_a_message_seen_twice_takes_over_once(chat: Chat) -> None:
    await chat.writes()
    said = chat.message("me", out=True)
    once = {"name": "Ada", "username": None, "settings": SETTINGS, "now": chat.now}
    assert await takeover.owner_spoke(chat.connection, said, **once)  # type: ignore[arg-type]
    await dialogs.silence(chat.connection, ADA, None)
    assert not await takeover.owner_spoke(chat.connection, said, **once)  # type: ignore[arg-type]
    assert (await chat.rows("dialogs"))[0]["silent_until"] is None


async def test_a_message_that_comes_hours_late_silences_nothing_any_more(chat: Chat) -> None:
    await chat.writes()
    said = chat.message("me", out=True)
    late = chat.now + timedelta(hours=3)
    assert await takeover.owner_spoke(chat.connection, said, name="Ada", username=None, settings=SETTINGS, now=late)
    assert (await chat.rows("dialogs"))[0]["silent_until"] is None


async def test_an_excluded_chat_is_not_kept(chat: Chat) -> None:
    await chat.writes()
    await dialogs.exclude(chat.connection, ADA, True)
    assert not await chat.owner_says("me")
    assert [row["out"] for row in await chat.rows("messages")] == [False]


async def test_what_the_live_session_sends_is_no_takeover_when_the_connection_shows_it(chat: Chat) -> None:
    await chat.writes()
    first, second = await chat.approved()
    await chat.begun(first, "session")
    assert not await chat.owner_says("one")
    assert await chat.states() == ["sent", "waiting"]
    assert (await chat.rows("messages"))[-1]["source"] == "twin"
    assert second.text == "two"


# --- echoes ---


async def _echo(chat: Chat, text: str, message_id: int, **more: Any) -> bool:
    return await sending.echo(chat.connection, ADA, message_id, text, chat.now, settings=SETTINGS, now=chat.now, **more)


async def test_an_echo_settles_the_one_bubble_in_flight_and_once_only(chat: Chat) -> None:
    await chat.writes()
    first, _ = await chat.approved("ok\nok")
    begun = await chat.begun(first)
    assert await _echo(chat, "ok", 50)
    assert await chat.states() == ["sent", "waiting"]
    assert await _echo(chat, "ok", 50)  # delivered again
    assert await chat.states() == ["sent", "waiting"]
    more = await sending.arrived(chat.connection, begun, message_id=50, sent_at=chat.now, settings=SETTINGS, now=chat.now)
    assert not more  # the answer comes after the echo, and changes nothing


async def test_an_echo_settles_its_bubble_also_if_the_session_had_read_the_message_before(chat: Chat) -> None:
    await chat.writes()
    first, second = await chat.approved("ok\nok")
    await chat.begun(first)
    read = Message("account", ADA, 50, True, chat.now, "ok", source="twin")
    await messages.save(chat.connection, [read])
    assert await _echo(chat, "ok", 50)
    assert await chat.states() == ["sent", "waiting"]
    await chat.begun(second)
    assert await _echo(chat, "ok", 50)
    assert await chat.states() == ["sent", "sending"]


async def test_what_was_sent_again_at_the_owners_word_and_is_withdrawn_then_is_cancelled(chat: Chat) -> None:
    await chat.writes()
    first, _ = await chat.approved()
    begun = await chat.begun(first)
    await sending.ask(chat.connection, begun, chat.now)
    assert await sending.answer_doubt(chat.connection, first.id, begun.try_number, it_arrived=False, settings=SETTINGS, now=chat.now)
    await sending.cancel_waiting(chat.connection, "account", ADA, "taken over", chat.now)
    assert await chat.states() == ["cancelled", "cancelled"]


async def test_an_echo_of_other_words_or_of_another_way_settles_nothing(chat: Chat) -> None:
    await chat.writes()
    first, _ = await chat.approved("ok\nok")
    await chat.begun(first, "session")
    assert not await _echo(chat, "ok", 50)
    assert not await _echo(chat, "something else", 51, way="session")
    assert await chat.states() == ["sending", "waiting"]


async def test_doubt_is_settled_as_the_way_demands(chat: Chat) -> None:
    await chat.writes()
    (bubble, *_) = await chat.approved("a\nb")
    begun = await chat.begun(bubble)
    await sending.doubt(chat.connection, begun, SETTINGS, chat.now)
    unheard = await outbox.get(chat.connection, bubble.id)
    assert unheard
    assert unheard.state == "unheard"
    assert unheard.not_before_at == chat.now + timedelta(seconds=10)
    await sending.missing(chat.connection, unheard, chat.now)  # somebody has looked, and it is not there
    assert await chat.states() == ["waiting", "waiting"]
    again = await outbox.first(chat.connection)
    assert again
    assert again.way is None
    by_session = await chat.begun(again, "session")
    await sending.doubt(chat.connection, by_session, SETTINGS, chat.now, seconds=2)
    held = await outbox.first(chat.connection)
    assert held
    assert (held.way, held.random_id) == ("session", bubble.random_id)
    assert await notices.untold(chat.connection) == []


async def test_recovery_treats_each_way_as_it_can(chat: Chat) -> None:
    for dialog_id, way in ((1, "bot"), (2, "business"), (3, "session")):
        channel = "bot" if way == "bot" else "account"
        draft = await drafts.add(chat.connection, channel=channel, dialog_id=dialog_id, answers_message_id=1, text="x", at=chat.now)
        await outbox.add(chat.connection, draft, ["x"])
        (bubble,) = await outbox.of_draft(chat.connection, draft.id)
        await chat.begun(bubble, way)
    assert await sending.recover(chat.connection, SETTINGS, chat.now) == 3
    assert await chat.states() == ["uncertain", "unheard", "waiting"]
    assert len(await notices.untold(chat.connection)) == 1


async def test_a_withdrawn_bubble_that_did_not_go_is_not_tried_again(chat: Chat) -> None:
    await chat.writes()
    first, _ = await chat.approved()
    begun = await chat.begun(first)
    assert await sending.cancel_waiting(chat.connection, "account", ADA, "taken over", chat.now) == 2
    assert await chat.states() == ["sending", "cancelled"]
    assert await chat.ended() == ("sending", None)
    await sending.wait(chat.connection, begun, chat.now, chat.now)
    assert await chat.states() == ["cancelled", "cancelled"]
    assert await chat.ended() == ("expired", "taken over")


async def test_a_withdrawn_bubble_that_may_have_gone_by_the_session_is_looked_up(chat: Chat) -> None:
    await chat.writes()
    first, _ = await chat.approved()
    await sending.doubt(chat.connection, await chat.begun(first, "session"), SETTINGS, chat.now)
    await sending.cancel_waiting(chat.connection, "account", ADA, "taken over", chat.now)
    assert await chat.states() == ["unheard", "cancelled"]
    (unheard,) = await outbox.in_state(chat.connection, "unheard")
    await sending.missing(chat.connection, unheard, chat.now)
    assert await chat.states() == ["cancelled", "cancelled"]


async def test_taking_back_covers_every_state(chat: Chat) -> None:
    await chat.writes()
    first, second, _ = await chat.approved("a\nb\nc")
    await sending.arrived(chat.connection, await chat.begun(first), message_id=50, sent_at=chat.now, settings=SETTINGS, now=chat.now)
    flying = await chat.begun(second)
    draft = await drafts.get(chat.connection, first.draft_id)
    assert draft
    assert await sending.retract(chat.connection, draft, chat.now) == 3
    assert await chat.states() == ["retracting", "sending", "cancelled"]
    assert await chat.ended() == ("expired", "taken back")
    await sending.arrived(chat.connection, flying, message_id=51, sent_at=chat.now, settings=SETTINGS, now=chat.now)
    assert await chat.states() == ["retracting", "retracting", "cancelled"]
    for bubble in await outbox.in_state(chat.connection, "retracting"):
        await sending.taken_back(chat.connection, bubble, chat.now)
    assert await chat.states() == ["retracted", "retracted", "cancelled"]
    assert {row["text"] for row in await chat.rows("messages") if row["out"]} == {""}
    assert await chat.ended() == ("expired", "taken back")


# --- what may go ---


async def _go(chat: Chat, ways: Any = ("bot", "business")) -> list[str | None]:
    leaving = await departures.begin_ready(chat.connection, ways, SETTINGS, chat.now, room=8)
    return [bubble.way for bubble in leaving.begun]


async def _connect(chat: Chat, **rights: bool) -> None:
    await connections.save(chat.connection, "bc", is_enabled=True, rights=rights, connected_at=chat.now, at=chat.now)


async def test_the_connection_goes_before_the_session_and_without_either_it_fails(chat: Chat) -> None:
    await chat.writes()
    await chat.approved("a")
    assert await _go(chat) == []
    assert await chat.ended() == ("failed", departures.UNCONNECTED)
    await _connect(chat, can_read_messages=True)
    await chat.approved("b")
    assert await _go(chat, ("bot", "business", "session")) == ["session"]
    await _connect(chat, can_reply=True)
    await dialogs.save(chat.connection, 9, name="Ben", username=None)
    draft = await drafts.add(chat.connection, channel="account", dialog_id=9, answers_message_id=1, text="x", at=chat.now)
    await outbox.add(chat.connection, draft, ["x"])
    assert await _go(chat, ("bot", "business", "session")) == ["business"]


async def test_a_silent_dialog_holds_back_what_the_twin_approved_itself_and_not_what_the_owner_did(chat: Chat) -> None:
    await _connect(chat, can_reply=True)
    await chat.writes()
    until = chat.now + timedelta(minutes=5)
    await dialogs.silence(chat.connection, ADA, until)
    (automatic,) = await chat.approved("by myself", action="auto")
    assert await _go(chat) == []
    held = await outbox.get(chat.connection, automatic.id)
    assert held
    assert held.not_before_at == until
    await sending.cancel_waiting(chat.connection, "account", ADA, "x", chat.now, only_auto=True)
    await chat.approved("by the owner")
    assert await sending.cancel_waiting(chat.connection, "account", ADA, "x", chat.now, only_auto=True) == 0
    assert await _go(chat) == ["business"]


async def test_the_bubbles_of_a_plan_keep_their_distances(chat: Chat) -> None:
    await chat.writes()
    bubbles = await chat.approved("a\nb\nc")
    for i, bubble in enumerate(bubbles):
        at = chat.now + timedelta(seconds=60 * (i + 1))
        await outbox.change(chat.connection, bubble.id, not_before_at=at, typing_at=at - timedelta(seconds=10))
    first = await outbox.first(chat.connection)
    assert first
    chat.now += timedelta(seconds=100)  # it goes 40 s late
    going = await chat.begun(first)
    await sending.arrived(chat.connection, going, message_id=5, sent_at=chat.now, settings=SETTINGS, now=chat.now)
    _, second, third = await outbox.of_draft(chat.connection, first.draft_id)
    assert (second.not_before_at, third.not_before_at) == (chat.now + timedelta(seconds=60), chat.now + timedelta(seconds=120))
    assert (second.typing_at, third.typing_at) == (chat.now + timedelta(seconds=50), chat.now + timedelta(seconds=110))


# --- comparing ---


@pytest.mark.parametrize(
    ("draft", "answer", "low", "high"),
    [
        ("see you at eight", "see you at eight", 0.999, 1.0),
        ("see you at eight", "see you at nine", 0.5, 0.95),
        ("see you at eight", "no idea, sorry", 0.0, 0.15),
        ("ok", "ok", 0.999, 1.0),
        ("ok", "", 0.0, 0.0),
        ("привет, как дела", "привет! как дела?", 0.6, 0.99),
    ],
)
def test_likeness_is_1_for_the_same_words_and_near_0_for_others(draft: str, answer: str, low: float, high: float) -> None:
    assert low <= shadow.likeness(draft, answer) <= high


async def test_a_shadow_draft_is_compared_with_the_whole_burst_and_with_nothing_later(chat: Chat) -> None:
    await chat.writes()
    draft = await chat.draft("sure\nsee you at eight", reason=shadow.SHADOW)
    await chat.owner_says("sure")
    half = await comparisons.get(chat.connection, draft.id)
    await chat.owner_says("see you at eight")
    whole = await comparisons.get(chat.connection, draft.id)
    assert half
    assert whole
    assert half.likeness < whole.likeness
    assert whole.likeness > 0.999
    chat.now += timedelta(minutes=3)
    await chat.owner_says("by the way")
    assert await comparisons.get(chat.connection, draft.id) == whole
    assert len(whole.owner_message_ids) == 2
    assert await comparisons.since(chat.connection, NOON) == [whole]


async def test_nothing_is_compared_that_was_sent_or_has_no_words(chat: Chat) -> None:
    await chat.writes()
    await chat.draft("a", reason=shadow.SHADOW)
    await chat.owner_says("", kind="sticker")
    assert await chat.rows("comparisons") == []
    await chat.writes()
    (bubble,) = await chat.approved("b")
    await sending.arrived(chat.connection, await chat.begun(bubble), message_id=90, sent_at=chat.now, settings=SETTINGS, now=chat.now)
    await chat.owner_says("and more")
    assert await chat.rows("comparisons") == []
