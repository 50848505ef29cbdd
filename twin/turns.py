"""Stored messages -> turns, for training rows and live prompts alike; `twin.renderer` makes tokens of them.

messages  one Telegram message each, oldest first
turns     consecutive messages of one side merged: a burst is one turn, its bubbles joined so that they can be split again
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from twin.masking import mask
from twin.names import SOMEBODY, in_prompt
from twin.utf16 import first

Role = Literal["system", "user", "assistant"]  # chat-template roles: user = the contact, assistant = the owner


TELEGRAM_ACCOUNTS = frozenset({777000, 333000, 489000, 1271266957})  # Telegram's own: sign-in codes, notifications, replies


class Message(NamedTuple):
    """One Telegram message of a private chat as stored. `out` claims that the owner's side sent it.

    `kind` is "text", "service", or the kind of its media ("photo", "voice", "sticker", ...); `text` is then the caption.
    `source`: "collected", "imported", "received" (live, through the bot), "business" (through a connection: never learned from),
    "twin" (the twin's own unedited words) or "owner" (typed or edited by the owner through the twin).
    `channel`: "account" (the owner's own chats) or "bot".
    `unattended`: it went by itself, as an away, greeting or scheduled message does: the owner was not there.
    `thread_id`: the topic of a chat with the bot in which it was written.
    """

    channel: str
    dialog_id: int
    message_id: int
    out: bool
    sent_at: datetime
    text: str
    kind: str = "text"
    reply_to_id: int | None = None
    forwarded: bool = False
    via_bot: bool = False
    source: str = "collected"
    unattended: bool = False
    thread_id: int | None = None


class Turn(NamedTuple):
    role: Role
    content: str


# --- bubbles ----------------------------------------------------------------------------------------------------------
# A newline separates bubbles, because that is what a model trained on text takes for "next line of a chat". A newline
# inside a bubble is written as backslash-n; a run of backslashes before an n or a newline is doubled, so nothing is lost.


def join_bubbles(bubbles: Iterable[str]) -> str:
    """Merge the messages of a burst into one turn's content; `split_bubbles` gives them back."""
    return "\n".join(map(_escape, bubbles))


def split_bubbles(content: str) -> list[str]:
    """The messages of a turn. Empty lines, which only a model writes, are dropped."""
    return [_unescape(line) for line in content.split("\n") if line.strip()]


def _escape(bubble: str) -> str:
    if "\n" not in bubble and "\\" not in bubble:
        return bubble
    bubble = bubble.replace("\r\n", "\n")
    if "\\" in bubble:
        bubble = re.sub(r"(\\+)(?=n|\n)", lambda m: m.group(1) * 2, bubble)
    return bubble.replace("\n", "\\n")


def _unescape(line: str) -> str:
    if "\\" not in line:
        return line

    def one(match: re.Match[str]) -> str:
        run = len(match.group(1))
        return "\\" * (run // 2) + ("\n" if run % 2 else "n")

    return re.sub(r"(\\+)n", one, line)


# --- messages -> turns ------------------------------------------------------------------------------------------------


def bubble_text(message: Message, quoted: Message | None = None) -> str:
    """What a model reads for one message: its text, masked, "[voice]" for what has no text, "> ..." for what it answers."""
    text = mask(message.text)
    if message.kind != "text":
        text = f"[{message.kind}] {text}".strip()
    if quoted is not None:
        text = f"> {first(' '.join(mask(quoted.text).split()), 80) or f'[{quoted.kind}]'}\n{text}"
    return text


def system_turn(owner: str, contact: str) -> Turn:
    """Who the model is and whom it talks to. The same words in training and in serving."""
    return Turn("system", f"You are {in_prompt(owner) or SOMEBODY}, chatting with {in_prompt(contact) or SOMEBODY}.")


def to_turns(messages: Sequence[Message]) -> list[Turn]:
    """Merge a conversation's messages into turns, oldest first. Service messages have no place in it."""
    known = by_key(messages) if any(m.reply_to_id is not None for m in messages) else {}
    return [render_burst(burst, known) for burst in bursts(messages)]


def bursts(messages: Sequence[Message]) -> list[list[Message]]:
    """Runs of consecutive messages of one side, service and empty messages left out."""
    runs: list[list[Message]] = []
    for message in filter(_has_place, messages):
        if runs and runs[-1][0].out == message.out:
            runs[-1].append(message)
        else:
            runs.append([message])
    return runs


def last_burst(messages: Sequence[Message]) -> list[Message]:
    """The last one of `bursts`; empty if there is none."""
    run: list[Message] = []
    for message in filter(_has_place, reversed(messages)):
        if run and run[-1].out != message.out:
            break
        run.append(message)
    return run[::-1]


def _has_place(message: Message) -> bool:
    """In a conversation as the model reads it."""
    return message.kind != "service" and (message.kind != "text" or bool(message.text.strip()))


def by_key(messages: Iterable[Message]) -> dict[tuple[str, int], Message]:
    """Messages by what a reply mark names them with."""
    return {(message.channel, message.message_id): message for message in messages}


def render_burst(burst: Sequence[Message], known: Mapping[tuple[str, int], Message]) -> Turn:
    """One turn. A contact's reply mark shows what it quotes, if the conversation (`known`) has it; the owner's never does,
    because the model must not learn to write quotes."""
    out = burst[0].out
    quoted = [None if out or m.reply_to_id is None else known.get((m.channel, m.reply_to_id)) for m in burst]
    return Turn("assistant" if out else "user", join_bubbles(map(bubble_text, burst, quoted)))


def last_conversation(messages: Sequence[Message], gap_seconds: float) -> Sequence[Message]:
    """The newest run of messages without a gap of `gap_seconds` or more: what a live prompt is made from."""
    start = len(messages)
    while start > 0:
        start -= 1
        if start and (messages[start].sent_at - messages[start - 1].sent_at).total_seconds() >= gap_seconds:
            break
    return messages[start:]
