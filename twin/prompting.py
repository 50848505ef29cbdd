"""The live prompt: what the model is asked when a contact has written. Training cuts its rows from the same turns."""

from __future__ import annotations

from collections.abc import Sequence

from twin.turns import Message, Turn, last_conversation, system_turn, to_turns


def live_prompt(messages: Sequence[Message], owner: str, contact: str, gap_seconds: float) -> tuple[Turn, ...]:
    """The newest conversation of one dialog as turns, system first, the contact's turn last. Empty if nothing is asked.

    `messages` are those of one dialog, oldest first. The engine cuts what is too long, at the front, between turns.
    """
    turns = to_turns(last_conversation(messages, gap_seconds))
    if not turns or turns[-1].role != "user":
        return ()
    return (system_turn(owner, contact), *turns)


def answered_first(messages: Sequence[Message], channel: str, answered_id: int) -> list[Message]:
    """Put what the contact wrote while an answer was still going out behind that answer.

    `answered_id` is the newest message that the answer knew of. Without this the conversation would end with the owner's
    side, and what came in between two bubbles would never be answered.
    """
    if not messages or not messages[-1].out:
        return list(messages)
    waiting = [m for m in messages if m.channel == channel and not m.out and m.message_id > answered_id]
    return [m for m in messages if m not in waiting] + waiting
