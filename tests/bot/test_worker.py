"""What the worker handles side by side: contacts among themselves, in order within each chat; everything else alone."""

import json
from typing import Any

from bot.worker import side_by_side
from twin.store.inbox import Received

OWNER = 100


def received(update_id: int, *, attempts: int = 0, **update: Any) -> Received:
    return Received(update_id, json.dumps({"update_id": update_id, **update}), attempts)


def written(update_id: int, chat: int, kind: str = "message", **more: Any) -> Received:
    return received(update_id, **{kind: {"chat": {"id": chat, "type": "private"}}}, **more)


def ids(waiting: list[Received]) -> list[list[int]]:
    return [[one.update_id for one in chat] for chat in side_by_side(waiting, OWNER)]


def test_contacts_are_handled_side_by_side_and_each_in_order() -> None:
    assert ids([written(1, 7), written(2, 8), written(3, 7, "edited_message"), written(4, 9)]) == [[1, 3], [2], [4]]


def test_what_the_owner_says_is_handled_alone_and_after_what_came_before() -> None:
    waiting = [written(1, 7), written(2, OWNER), written(3, 8)]
    assert ids(waiting) == [[1]]
    assert ids(waiting[1:]) == [[2]]


def test_taps_connections_and_groups_are_handled_alone() -> None:
    for update in ({"callback_query": {}}, {"business_connection": {}}, {"message": {"chat": {"id": -5, "type": "group"}}}, {}):
        assert ids([received(1, **update), written(2, 7)]) == [[1]]


def test_chats_of_the_owners_account_are_kept_in_order_too() -> None:
    waiting = [written(1, 7, "business_message"), written(2, 8, "business_message"), written(3, 7, "deleted_business_messages")]
    assert ids(waiting) == [[1, 3], [2]]


def test_one_that_has_failed_is_handled_alone() -> None:
    assert ids([written(1, 7, attempts=1), written(2, 8)]) == [[1]]
    assert ids([written(1, 7), written(2, 8, attempts=1), written(3, 9)]) == [[1]]


def test_nothing_waits() -> None:
    assert side_by_side([], OWNER) == []
