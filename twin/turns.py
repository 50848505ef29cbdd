"""The one renderer: stored messages -> turns -> token ids. Training rows and live prompts both come from here.

messages  one Telegram message each, oldest first
turns     consecutive messages of one side merged: a burst is one turn, its bubbles joined so that they can be split again
tokens    the base model's own chat template, tokenised piece by piece so that a prompt is exactly a prefix of a training row
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from twin.errors import ModelError
from twin.masking import mask

Role = Literal["system", "user", "assistant"]  # chat-template roles: user = the contact, assistant = the owner


@dataclass(frozen=True, slots=True)
class Message:
    """One Telegram message of a private chat as stored. `out` claims that the owner's side sent it.

    `kind` is "text", "service", or the kind of its media ("photo", "voice", "sticker", ...); `text` is then the caption.
    `source`: "collected", "imported", "received" (live, through the bot), "twin" (the twin's own unedited words) or
    "owner" (typed or edited by the owner through the twin). `channel`: "account" (the owner's own chats) or "bot".
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


@dataclass(frozen=True, slots=True)
class Turn:
    role: Role
    content: str


# --- bubbles ----------------------------------------------------------------------------------------------------------
# A newline separates bubbles, because that is what a model trained on text takes for "next line of a chat". A newline
# inside a bubble is written as backslash-n; a run of backslashes before an n or a newline is doubled, so nothing is lost.


def join_bubbles(bubbles: Iterable[str]) -> str:
    """Merge the messages of a burst into one turn's content; `split_bubbles` gives them back."""
    return "\n".join(
        re.sub(r"(\\+)(?=n|\n)", lambda m: m.group(1) * 2, bubble.replace("\r\n", "\n")).replace("\n", "\\n") for bubble in bubbles
    )


def split_bubbles(content: str) -> list[str]:
    """The messages of a turn. Empty lines, which only a model writes, are dropped."""
    return [_unescape(line) for line in content.split("\n") if line.strip()]


def _unescape(line: str) -> str:
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
        text = f"> {' '.join(mask(quoted.text).split())[:80] or f'[{quoted.kind}]'}\n{text}"
    return text


def system_turn(owner: str, contact: str) -> Turn:
    """Who the model is and whom it talks to. The same words in training and in serving."""
    return Turn("system", f"You are {owner}, chatting with {contact}.")


def to_turns(messages: Sequence[Message]) -> list[Turn]:
    """Merge a conversation's messages into turns, oldest first. Service messages have no place in it."""
    return [Turn("assistant" if burst[0].out else "user", render_burst(burst, messages)) for burst in bursts(messages)]


def bursts(messages: Sequence[Message]) -> list[list[Message]]:
    """Runs of consecutive messages of one side, service and empty messages left out."""
    runs: list[list[Message]] = []
    for message in messages:
        if message.kind == "service" or (message.kind == "text" and not message.text.strip()):
            continue
        if runs and runs[-1][0].out == message.out:
            runs[-1].append(message)
        else:
            runs.append([message])
    return runs


def render_burst(burst: Sequence[Message], conversation: Sequence[Message]) -> str:
    """One turn's content. A contact's reply to something further back shows what it quotes; the owner's never does,
    because the model must not learn to write quotes."""
    by_id = {(m.channel, m.message_id): m for m in conversation} if any(m.reply_to_id for m in burst) else {}
    lines = []
    for message in burst:
        quoted = by_id.get((message.channel, message.reply_to_id or 0)) if not message.out else None
        lines.append(bubble_text(message, quoted))
    return join_bubbles(lines)


def last_conversation(messages: Sequence[Message], gap_seconds: float) -> Sequence[Message]:
    """The newest run of messages without a gap of `gap_seconds` or more: what a live prompt is made from."""
    start = len(messages)
    while start > 0:
        start -= 1
        if start and (messages[start].sent_at - messages[start - 1].sent_at).total_seconds() >= gap_seconds:
            break
    return messages[start:]


# --- turns -> tokens --------------------------------------------------------------------------------------------------


class ChatTokenizer(Protocol):
    """The part of a Hugging Face tokenizer that the renderer needs."""

    eos_token: Any
    chat_template: Any

    def apply_chat_template(self, conversation: Any, *, tokenize: bool, add_generation_prompt: bool) -> Any: ...
    def encode(self, text: str, *, add_special_tokens: bool) -> Any: ...


@dataclass(frozen=True)
class Rendered:
    """`ids` of a whole row; `spans` gives for each assistant turn `(index of the turn, first, end)` of what it must
    produce: its words and the end-of-turn token. `ids[:first]` is exactly the prompt that serving would send."""

    ids: list[int]
    spans: list[tuple[int, int, int]]


class Renderer:
    """Turns -> token ids with one tokenizer's chat template. Raises ModelError if there is none or it rewrites history."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        if not tokenizer.chat_template:
            raise ModelError("The base model's tokenizer has no chat template.", mend="Choose an instruction-tuned model (model.base).")
        self.tokenizer = tokenizer
        self._cache: dict[str, list[int]] = {}
        self._system_allowed = self._accepts([Turn("system", "probe-one"), Turn("user", "probe-two")])
        self._assistant_first_allowed = self._accepts([Turn("assistant", "probe-one"), Turn("user", "probe-two")])

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Token ids that ask for the next assistant turn."""
        turns = self._fit(turns)
        ids: list[int] = []
        done = ""
        for i, turn in enumerate(turns):
            if turn.role == "assistant":
                done = self._assistant(turns, i, done, ids)
        self._append(ids, self._text(turns, ask=True), done)
        return ids

    def row(self, turns: Sequence[Turn]) -> Rendered:
        """A training row: everything up to the end of the last assistant turn, and the span of each assistant turn."""
        kept = self._fit(turns)
        shift = len(turns) - len(kept)  # what _fit took from the front
        ids: list[int] = []
        spans: list[tuple[int, int, int]] = []
        done = ""
        for i, turn in enumerate(kept):
            if turn.role == "assistant":
                done = self._assistant(kept, i, done, ids, spans, shift)
        return Rendered(ids, spans)

    def count(self, turn: Turn) -> int:
        """About how many tokens a turn takes, the template's marks included: what windows are cut by."""
        return len(self._encode(turn.content)) + 6

    def _assistant(
        self, turns: Sequence[Turn], i: int, done: str, ids: list[int], spans: list[tuple[int, int, int]] | None = None, shift: int = 0
    ) -> str:
        """Append everything up to the end of assistant turn `i`, in three pieces: prompt, reply with its end, the rest."""
        ask = self._text(turns[:i], ask=True)
        whole = self._text(turns[: i + 1], ask=False)
        if not whole.startswith(ask):
            raise ModelError("The base model's chat template rewrites earlier turns.", mend="Choose another model (model.base).")
        self._append(ids, ask, done)
        reply = whole[len(ask) :]
        eos = str(self.tokenizer.eos_token)
        end = reply.rfind(eos)
        supervised = reply if end < 0 else reply[: end + len(eos)]
        first = len(ids)
        ids += self._encode(supervised)
        if spans is not None:
            spans.append((i + shift, first, len(ids)))
        ids += self._encode(reply[len(supervised) :])
        return whole

    def _append(self, ids: list[int], text: str, done: str) -> None:
        if not text.startswith(done):
            raise ModelError("The base model's chat template rewrites earlier turns.", mend="Choose another model (model.base).")
        ids += self._encode(text[len(done) :])

    def _text(self, turns: Sequence[Turn], *, ask: bool) -> str:
        rows = [{"role": turn.role, "content": turn.content} for turn in turns]
        return str(self.tokenizer.apply_chat_template(rows, tokenize=False, add_generation_prompt=ask))

    def _encode(self, text: str) -> list[int]:
        if not text:
            return []
        if text not in self._cache:
            if len(self._cache) > 50_000:
                self._cache.clear()
            self._cache[text] = list(self.tokenizer.encode(text, add_special_tokens=False))
        return self._cache[text]

    def _fit(self, turns: Sequence[Turn]) -> list[Turn]:
        """Bend turns to what the template takes: some know no system role, some want the contact first."""
        kept = list(turns)
        system = kept.pop(0) if kept and kept[0].role == "system" else None
        if not self._assistant_first_allowed:
            while kept and kept[0].role == "assistant":
                kept.pop(0)
        if system and self._system_allowed:
            return [system, *kept]
        if system and kept and kept[0].role == "user":
            kept[0] = Turn("user", f"{system.content}\n\n{kept[0].content}")
        return kept

    def _accepts(self, turns: Sequence[Turn]) -> bool:
        # Templates refuse with jinja2.TemplateError subclasses, which the core does not import.
        try:
            return all(turn.content in self._text(turns, ask=False) for turn in turns)
        except Exception as refusal:
            if "emplate" in type(refusal).__name__ or "emplate" in str(type(refusal).__mro__):
                return False
            raise
