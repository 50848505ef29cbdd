"""The verbs of the world: one message, two boxes; who hears what."""

import pytest

from sandbox.world import (
    Account,
    BlockChanged,
    BusinessConnection,
    CommandsSet,
    Deleted,
    DraftStreamed,
    Edited,
    Event,
    Group,
    Media,
    MemberChanged,
    PressAnswered,
    Reacted,
    Sent,
    World,
    WorldError,
)

NOW = 1_800_000_000


@pytest.fixture
def world() -> World:
    world = World(clock=lambda: world.now)  # type: ignore[attr-defined]
    world.now = NOW  # type: ignore[attr-defined]
    for account_id, name in ((1, "Ada"), (2, "Ben"), (3, "Cleo")):
        world.add_account(Account(account_id, name))
    world.add_account(Account(42, "Twin", is_bot=True, token="42:x"))
    world.add_group(Group(500, "Walkers", "group", {1, 2}))
    return world


@pytest.fixture
def heard(world: World) -> list[Event]:
    events: list[Event] = []
    world.subscribe(events.append)
    return events


def test_each_account_counts_its_own_messages_over_all_private_chats(world: World) -> None:
    world.send(1, 2, "a")
    world.send(3, 1, "b")
    third = world.send(2, 1, "c")
    assert third.ids == {1: 3, 2: 2}
    assert world.in_box(1, 3) is third
    assert world.in_box(2, 2) is third


def test_a_group_has_ids_of_its_own(world: World) -> None:
    world.send(1, 2, "private")
    assert world.send(1, 500, "hello all").ids == {500: 1}


def test_the_members_of_a_basic_group_each_have_the_message_in_their_box(world: World) -> None:
    world.add_group(Group(501, "Old group", "basic_group", {1, 2}))
    world.send(1, 3, "private")
    assert world.send(2, 501, "hi").ids == {1: 2, 2: 1}


def test_silent_messages_are_history_without_events(world: World, heard: list[Event]) -> None:
    sent = world.send(1, 2, "long ago", date=5, silent=True)
    assert heard == []
    assert world.history(2, 1) == [sent]
    assert world.send(1, 2, "now") in [e.message for e in heard if isinstance(e, Sent)]


def test_an_ended_subscription_hears_nothing(world: World) -> None:
    events: list[Event] = []
    world.subscribe(events.append)()
    world.send(1, 2, "x")
    assert events == []


def test_dialogs_are_listed_newest_first_with_groups(world: World) -> None:
    world.send(1, 2, "a", date=NOW - 9)
    world.send(3, 1, "b", date=NOW - 5)
    world.send(2, 500, "c", date=NOW - 7)
    assert world.dialogs(1) == [3, 500, 2]
    assert world.dialogs(3) == [1]


@pytest.mark.parametrize(
    ("text", "code"), [("", "MESSAGE_EMPTY"), (" \n", "MESSAGE_EMPTY"), ("x" * 4097, "MESSAGE_TOO_LONG"), ("😀" * 2049, "MESSAGE_TOO_LONG")]
)
def test_a_text_is_refused(world: World, text: str, code: str) -> None:
    with pytest.raises(WorldError) as refused:
        world.send(1, 2, text)
    assert refused.value.code == code
    assert world.history(1, 2) == []


def test_4096_utf16_units_are_allowed(world: World) -> None:
    assert world.send(1, 2, "😀" * 2048)


def test_a_message_to_nobody_or_to_one_who_blocked_is_refused(world: World, heard: list[Event]) -> None:
    world.block(2, 1)
    for to, code in ((99, "PEER_ID_INVALID"), (2, "USER_IS_BLOCKED")):
        with pytest.raises(WorldError) as refused:
            world.send(1, to, "x")
        assert refused.value.code == code
    world.block(2, 1)
    world.block(2, 1, blocked=False)
    assert world.send(1, 2, "x")
    assert [e.blocked for e in heard if isinstance(e, BlockChanged)] == [True, False]


def test_a_repeated_random_id_is_answered_with_the_first_message(world: World) -> None:
    first = world.send(1, 2, "x", random_id=7)
    with pytest.raises(WorldError) as refused:
        world.send(1, 2, "x", random_id=7)
    assert refused.value.code == "RANDOM_ID_DUPLICATE"
    assert refused.value.details["message"] is first
    assert world.send(1, 3, "x", random_id=7), "another receiver is another message"


def test_an_edit_replaces_text_and_keyboard_and_marks_the_message(world: World, heard: list[Event]) -> None:
    message = world.send(1, 2, "x", reply_markup={"inline_keyboard": []})
    world.now += 5  # type: ignore[attr-defined]
    world.edit(message, text="y")
    assert (message.text, message.reply_markup, message.edit_date) == ("y", None, NOW + 5)
    assert isinstance(heard[-1], Edited)


def test_an_edit_of_the_keyboard_alone_leaves_no_mark(world: World) -> None:
    message = world.send(1, 2, "x")
    world.edit(message, reply_markup={"inline_keyboard": [[]]})
    assert message.edit_date is None


def test_an_edit_that_changes_nothing_is_refused(world: World) -> None:
    message = world.send(1, 2, "x", entities=[{"type": "bold", "offset": 0, "length": 1}])
    with pytest.raises(WorldError, match="MESSAGE_NOT_MODIFIED"):
        world.edit(message, text="x", entities=[{"type": "bold", "offset": 0, "length": 1}])
    with pytest.raises(WorldError, match="MESSAGE_NOT_MODIFIED"):
        world.edit(message)
    world.edit(message, text="x", entities=[{"type": "italic", "offset": 0, "length": 1}])
    world.edit(message, text="x", media=Media("photo", b"1"))
    assert message.entities == []


def test_deleting_takes_a_message_from_both_boxes_and_twice_does_no_harm(world: World, heard: list[Event]) -> None:
    kept, gone = world.send(1, 2, "a"), world.send(1, 2, "b")
    world.delete([gone])
    world.delete([gone])
    world.delete([])
    assert world.history(1, 2) == [kept]
    assert world.in_box(1, 2) is world.in_box(2, 2) is None
    assert [e.messages for e in heard if isinstance(e, Deleted)] == [(gone,)]
    assert world.send(1, 2, "c").ids == {1: 3, 2: 3}, "ids are not used again"


def test_a_press_is_answered_once_and_within_a_minute(world: World, heard: list[Event]) -> None:
    card = world.send(42, 1, "card", reply_markup={"inline_keyboard": [[{"text": "Send", "callback_data": "s"}]]})
    with pytest.raises(WorldError, match="BUTTON_DATA_INVALID"):
        world.press(1, card, "forged")
    world.answer_press(world.press(1, card, "s").id, "ok")
    assert [e.text for e in heard if isinstance(e, PressAnswered)] == ["ok"]
    press = world.press(1, card, "s")
    world.now += 61  # type: ignore[attr-defined]
    with pytest.raises(WorldError, match="QUERY_ID_INVALID"):
        world.answer_press(press.id)


def test_the_reply_window_is_a_day_after_the_contacts_last_message(world: World) -> None:
    connection = BusinessConnection("bc", 1, 42, NOW)
    world.set_connection(connection)
    assert not world.can_reply(connection, 2)
    world.send(2, 1, "hi", date=NOW - 86_400)
    assert not world.can_reply(connection, 2)
    world.send(2, 1, "hi", date=NOW - 86_000)
    for _ in range(3):
        world.send(1, 2, "own messages do not matter")
    assert world.can_reply(connection, 2)
    world.now += 401  # type: ignore[attr-defined]
    assert not world.can_reply(connection, 2)


def test_a_withdrawn_connection_is_not_found_again(world: World) -> None:
    connection = BusinessConnection("bc", 1, 42, NOW)
    world.set_connection(connection)
    assert world.connection_of(1) is connection
    connection.enabled = False
    world.set_connection(connection)
    assert world.connection_of(1) is None


def test_an_accounts_own_menu_hides_the_bots_menu(world: World, heard: list[Event]) -> None:
    world.set_commands(42, [("help", "Help")])
    world.set_commands(42, [("approve", "Approve")], 1)
    assert world.commands_for(42, 1) == (("approve", "Approve"),)
    assert world.commands_for(42, 2) == (("help", "Help"),)
    world.set_commands(42, [], 1)
    assert world.commands_for(42, 1) == (("help", "Help"),)
    assert [e.account_id for e in heard if isinstance(e, CommandsSet)] == [None, 1, 1]


def test_joining_and_leaving_are_told_once(world: World, heard: list[Event]) -> None:
    for _ in range(2):
        world.join(500, 42, by_id=1)
    for _ in range(2):
        world.leave(500, 42, by_id=42)
    assert [e.joined for e in heard if isinstance(e, MemberChanged)] == [True, False]


def test_reactions_and_streamed_drafts_are_told(world: World, heard: list[Event]) -> None:
    message = world.send(1, 2, "x")
    world.react(2, message, ["👍"])
    assert message.reactions == {2: ("👍",)}
    world.react(2, message, [])
    assert message.reactions == {}
    world.stream_draft(42, 1, 9, "hel")
    assert isinstance(heard[-2], Reacted)
    assert heard[-1] == DraftStreamed(42, 1, 9, "hel")
