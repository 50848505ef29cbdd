"""A dialog's messages -> conversations of turns, and which of the owner's turns may be learned. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from twin.turns import Message, Turn, bursts, by_key, render_burst

Split = Literal["train", "validation", "holdout", "anchor"]
SPLITS: tuple[Split, ...] = ("train", "validation", "holdout", "anchor")

# Why an owner's message did not become a target, in the words that the report prints.
REASONS = {
    "opener": "opens a conversation, answers nothing",
    "media": "is not text (voice, photo, sticker...), or in one turn with such",
    "forwarded": "was forwarded, or in one turn with such",
    "via_bot": "was written by an inline bot, or in one turn with such",
    "unattended": "went by itself (away, greeting or scheduled), or in one turn with such",
    "twin": "was written by the twin, or in one turn with such",
    "business": "came through a Telegram Business connection and was not collected",
    "spread": "belongs to a turn spread over more than an hour",
    "missing": "answers a message that is not there",
    "repeated": "repeats a text that is a target often enough",
    "too_long": "is too long together with what it answers",
    "service": "is a service message or empty",
    "masked": "is nothing but masked data",
}
UNLEARNABLE = "business"  # Telegram's terms for bots (5.4): never for any other purpose, so neither as target nor as context
SPREAD = timedelta(hours=1)
_MASKS = re.compile(r"\[(?:email|password|key|account|card|phone)\]")


@dataclass(slots=True)
class Node:
    """A turn with what the rules need to know of it. `verdict` of an owner's turn: "target" or a key of REASONS."""

    turn: Turn
    messages: list[Message]
    verdict: str = ""
    tokens: int = 0
    after: int | None = None  # the turn it answers by Telegram's reply mark, where that is not the turn before it
    split: Split = "train"

    @property
    def at(self) -> int:
        return int(self.messages[0].sent_at.timestamp())


def learnable_parts(messages: Sequence[Message]) -> list[Sequence[Message]]:
    """What lies between messages that came through a connection: as if those had never been, and nothing answers across them."""
    if all(message.source != UNLEARNABLE for message in messages):
        return [messages]
    parts: list[list[Message]] = [[]]
    for message in messages:
        if message.source == UNLEARNABLE:
            parts.append([])
        else:
            parts[-1].append(message)
    return [part for part in parts if part]


def conversations_of(messages: Sequence[Message], gap_seconds: float) -> list[list[Message]]:
    gap = timedelta(seconds=gap_seconds)
    runs: list[list[Message]] = []
    for message in messages:
        if runs and message.sent_at - runs[-1][-1].sent_at < gap:
            runs[-1].append(message)
        else:
            runs.append([message])
    return runs


def nodes_of(conversation: Sequence[Message]) -> list[Node]:
    known = by_key(conversation)
    nodes: list[Node] = []
    for burst in bursts(conversation):
        turn = render_burst(burst, known)
        nodes.append(Node(turn, burst, _verdict(burst, turn, answers=bool(nodes)) if burst[0].out else ""))
    return nodes


def _verdict(burst: Sequence[Message], turn: Turn, *, answers: bool) -> str:
    if not answers:
        return "opener"
    for message in burst:
        if message.kind != "text" or message.forwarded or message.via_bot or message.unattended or message.source == "twin":
            return _foreign(burst)
    if burst[-1].sent_at - burst[0].sent_at > SPREAD:
        return "spread"
    if "[" in turn.content and not re.search(r"\w", _MASKS.sub("", turn.content)) and _MASKS.search(turn.content):
        return "masked"
    return "target"


def _foreign(burst: Sequence[Message]) -> str:
    """Why a burst with something in it that the owner did not write is no target."""
    if any(message.forwarded for message in burst):
        return "forwarded"
    if any(message.via_bot for message in burst):
        return "via_bot"
    if any(message.unattended for message in burst):
        return "unattended"
    return "twin" if any(message.source == "twin" for message in burst) else "media"


def follow_replies(conversations: list[list[Node]]) -> None:
    """A reply mark beats the order of things: the turn answers the marked message, however far back it is."""
    if not any(node.turn.role == "assistant" and node.messages[0].reply_to_id is not None for nodes in conversations for node in nodes):
        return
    place = {
        (m.channel, m.message_id): (c, i) for c, nodes in enumerate(conversations) for i, node in enumerate(nodes) for m in node.messages
    }
    for c, nodes in enumerate(conversations):
        for i, node in enumerate(nodes):
            if node.verdict not in ("target", "opener") or node.messages[0].reply_to_id is None:
                continue
            first = node.messages[0]
            marked = place.get((first.channel, first.reply_to_id or 0))
            if marked is None or marked > (c, i):  # nobody answers what is yet to come: a damaged import
                node.verdict = "missing"
                continue
            at, after = marked
            if conversations[at][after].turn.role == "assistant":
                continue  # the owner adds to an own message: the order of things holds
            if at != c:
                # What it answers lies in an earlier conversation: the turn moves there and is an answer after all. Where
                # it was, it stays as context for what follows.
                verdict = _verdict(node.messages, node.turn, answers=True)
                conversations[at].append(Node(node.turn, node.messages, verdict, node.tokens, after=after))
                node.verdict, node.messages = "opener", []
            elif after != i - 1:
                node.after = after
