"""The live prompt."""

from datetime import UTC, datetime, timedelta

from twin.prompting import answered_first, live_prompt
from twin.turns import Message, Turn, last_conversation, system_turn, to_turns

START = datetime(2026, 11, 1, tzinfo=UTC)
DAY = 86_400.0


def said(number: int, text: str, *, out: bool = False, hours: float = 0, channel: str = "bot") -> Message:
    return Message(channel, 7, number, out, START + timedelta(hours=hours, seconds=number), text)


def test_it_is_the_system_turn_and_the_newest_conversation() -> None:
    messages = [said(1, "old", hours=-48), said(2, "hey"), said(3, "you there"), said(4, "yes", out=True), said(5, "good")]
    assert live_prompt(messages, "Olga", "Ada", DAY) == (
        Turn("system", "You are Olga, chatting with Ada."),
        Turn("user", "hey\nyou there"),
        Turn("assistant", "yes"),
        Turn("user", "good"),
    )


def test_it_is_the_trainers_turns_with_the_system_turn_before() -> None:
    messages = [said(i, f"text {i}", out=i % 3 == 0) for i in range(1, 12)]
    assert live_prompt(messages, "O", "A", DAY) == (system_turn("O", "A"), *to_turns(last_conversation(messages, DAY)))


def test_nothing_is_asked_when_the_owner_spoke_last_or_nobody_did() -> None:
    assert live_prompt([said(1, "hey"), said(2, "hi", out=True)], "O", "A", DAY) == ()
    assert live_prompt([], "O", "A", DAY) == ()


def test_what_came_between_two_bubbles_is_put_behind_them() -> None:
    messages = [said(1, "hey"), said(2, "one", out=True), said(3, "and tomorrow?"), said(4, "two", out=True)]
    assert [m.text for m in answered_first(messages, "bot", 1)] == ["hey", "one", "two", "and tomorrow?"]
    assert [m.text for m in answered_first(messages, "bot", 3)] == ["hey", "one", "and tomorrow?", "two"]
    assert answered_first(messages[:3], "bot", 1) == messages[:3]
    assert answered_first([], "bot", 0) == []
