"""The one renderer: turns -> token ids with the base model's own chat template. Training rows and live prompts both come from here.

Three things hold for every base model, or it is refused with the reason:

spans   the tokens that training makes likelier say exactly the owner's words, and then end the turn
ends    the token that ends a turn ends generation, in both engines
prefix  what serving asks is the beginning of the training row, on any day

A template is asked only for its marks, the text around the contents of turns with given roles. The contents are put between
them afterwards, so rendering a row costs no more than encoding it, and nobody can write a mark in a message.

Thinking is switched off by the template's own argument. Where a template opens a reply in another way when it asks for one
than when it shows one (an empty thought, a channel), every reply is opened in the longer way, in rows and prompts; a thought
that stays open is closed at once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, TypedDict

from twin.errors import ModelError
from twin.turns import Role, Turn

Invariant = Literal["spans", "ends", "prefix"]
INVARIANTS: tuple[Invariant, ...] = ("spans", "ends", "prefix")

# A template that writes today's date would make another prompt of the same words every day. Llama 3 takes `date_string`, others
# call `strftime_now`, which transformers gives them and an argument of that name replaces.
DAY = datetime(2024, 7, 26)  # noqa: DTZ001 - the day that Llama 3's template names where nobody says another
SWITCHES: dict[str, Any] = {
    "enable_thinking": False,  # Qwen3, GLM-4.5, SmolLM3, Hunyuan
    "thinking": False,  # DeepSeek V3.1, Granite
    "date_string": DAY.strftime("%d %b %Y"),
    "strftime_now": DAY.strftime,
}
UNSWITCHED: dict[str, Any] = {"strftime_now": (DAY + timedelta(days=1)).strftime}  # as on any other day
REMEMBERED = 50_000  # texts whose tokens are kept
# What is left of a character, of joined emoji, or of a flag that is spelled in tags, when its last tokens are missing.
_HALF = re.compile("(?:\ufffd|\u200d|\U0001f3f4[\U000e0020-\U000e007e]+)+\\Z")
_PLACE = re.compile("\ue000(\\d+)\ue001")  # private-use characters: no template writes them
_TALK: tuple[Role, ...] = ("user", "assistant", "user", "assistant", "user")
_BRACKETED = re.compile(r"<<?/?[^<>\s]+>>?|\[/?[^\[\]\s]+\]|\{[^{}\s]+\}")
_OPEN_THOUGHT = re.compile(r"(?P<open>[<\[])(?P<bar>\|?)(?P<name>[\w:]*(?:think|thought|reason)[\w:]*)\|?[>\]]\s*$", re.IGNORECASE)
_PROBES = ("ok", "7, see you there!\nbring the keys", "“наверное” 😊", "a  b\\n")


class ChatTokenizer(Protocol):
    """The part of a Hugging Face tokenizer that the renderer needs."""

    eos_token: Any
    chat_template: Any
    added_tokens_decoder: Any

    def apply_chat_template(self, conversation: Any, *, tokenize: bool, add_generation_prompt: bool, **switches: Any) -> Any: ...
    def encode(self, text: str, *, add_special_tokens: bool) -> Any: ...
    def decode(self, token_ids: Any, *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> Any: ...


class TemplateRefused(ModelError):
    """A chat template that the twin cannot use. `shown`: the invariants that were shown to hold before."""

    def __init__(self, message: str, *, shown: Sequence[Invariant] = ()) -> None:
        super().__init__(message, mend="Choose another model (model.base); `twin model` shows what the twin makes of one.")
        self.shown = tuple(shown)


class TemplateFailed(TemplateRefused):
    """The template has a bug, or expects another kind of talk: no other roles make it usable."""


@dataclass(frozen=True)
class Rendered:
    """`ids` of a whole row; `spans` gives for each assistant turn `(index of the turn, first, end)` of what it must
    produce: its words and the end-of-turn token. `ids[:first]` is exactly the prompt that serving would send."""

    ids: list[int]
    spans: list[tuple[int, int, int]]


class Rendering(TypedDict):
    """How a renderer makes rows. `fingerprint`: of the tokens of a fixed talk and of its ends; `switched`: whether they are others
    than the template writes by itself: with thoughts, on another day, or a reply opened otherwise than it is asked for."""

    fingerprint: str
    switched: bool


def was_other(kept: Rendering | None, now: Rendering | None) -> bool:
    """Whether rows were made in another way than now. None: nothing was kept, as before there was a Rendering; then the rows of a
    template without switches are taken to be what they were."""
    if now is None:
        return False
    return now["switched"] if kept is None else kept["fingerprint"] != now["fingerprint"]


class Renderer:
    """Turns -> token ids with one tokenizer's chat template. Raises ModelError if the template cannot be used.

    `ends`: the ids of the tokens that end an assistant turn. `marks`: what nobody may write in a message. `system`: "own" where
    the template has a system role, else "in the first message". `opening`: how a reply begins, "" where only the template's mark
    of the role stands there. `rendering`: what a training keeps of how its rows were made, for `was_other`.
    """

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        if not tokenizer.chat_template:
            raise TemplateRefused("The base model's tokenizer has no chat template: it was not made to chat.")
        self.tokenizer = tokenizer
        self._ids: dict[str, list[int]] = {}
        self._pieces: dict[tuple[bool, tuple[Role, ...]], list[str]] = {}
        added = tokenizer.added_tokens_decoder.values()
        self._tokens = {str(token) for token in added if token.special or _is_mark(str(token))}
        self._token = _any_of(self._tokens)
        self._in_parts = False  # whether contents are given as lists of parts, as templates of models for pictures want them
        self._choose_form()
        self._system_allowed = self._keeps(("system", *_TALK))
        lead: tuple[Role, ...] = ("system",) if self._system_allowed else ()
        self._assistant_first_allowed = self._keeps((*lead, *_TALK[1:]))
        first, *between = self._around((*lead, *_TALK), ask=False)
        self.system = "own" if self._system_allowed else "in the first message"
        self.marks = _marks(self._tokens, [first, *between, *self._around(_TALK, ask=True)])
        asked = self._around((*lead, "user"), ask=True)[-1]
        self.opening = self._opening(between[len(lead)], asked)
        self.thinking = _thinking(self.opening, asked)
        self._head = len(self._encode(first)) + 6  # 6: the end of the last turn; where there is no system role, the seam
        self._mark = max(len(self._encode(text)) for text in (*between, self.opening + "".join(between[-1:])))
        self.ends = sorted({self._end(text)[1] for text in (between[len(lead) + 1], between[len(lead) + 3])})
        proof = self._prove()
        made = json.dumps([proof.ids, proof.spans, self.ends])
        plainly, switched = (self._template((*lead, "user"), ask=True, **switches) for switches in (UNSWITCHED, SWITCHES))
        self.rendering: Rendering = {
            "fingerprint": hashlib.sha256(made.encode()).hexdigest(),
            "switched": plainly != switched or not (asked == self.opening and between[len(lead)].startswith(asked)),
        }

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Token ids that ask for the next assistant turn."""
        return self._assemble(self._fit(turns), [], ask=True)

    def row(self, turns: Sequence[Turn]) -> Rendered:
        """A training row: everything up to the end of the last assistant turn, and the span of each assistant turn."""
        kept = self._fit(turns)
        shift = len(turns) - len(kept)  # what _fit took from the front
        while kept and kept[-1].role != "assistant":
            kept.pop()
        if not kept:
            return Rendered([], [])
        spans: list[tuple[int, int, int]] = []
        ids = self._assemble(kept, spans, ask=False)
        return Rendered(ids, [(i + shift, first, end) for i, first, end in spans])

    def count(self, turn: Turn) -> int:
        """How many tokens a turn takes at most, the template's marks included: what windows are cut by."""
        return len(self._encode(plain(turn.content, self.marks))) + (self._head if turn.role == "system" else self._mark)

    def text(self, token_ids: Sequence[int]) -> str:
        """What generated tokens say: without the end of the turn, special tokens, and half an emoji where the length limit cut."""
        said = list(token_ids)
        while said and said[-1] in self.ends:
            said.pop()
        text = str(self.tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        return _HALF.sub("", text).strip()

    def _assemble(self, turns: Sequence[Turn], spans: list[tuple[int, int, int]], *, ask: bool) -> list[int]:
        """Encode in pieces that end where an assistant turn begins and ends: a prompt then is exactly a prefix of a row."""
        roles = _roles(turns)
        pieces = self._row_pieces(roles, ask=ask)
        ids: list[int] = []
        text, ended = "", 0  # what is to be encoded before the next opening; how much of the next piece ended the turn before it
        for i, turn in enumerate(turns):
            if turn.role != "assistant":
                text, ended = text + pieces[i][ended:] + turn.content, 0
                continue
            opening = self._checked_opening(pieces, roles, i)
            ids += self._encode(text + opening[ended:])
            first = len(ids)
            space = pieces[i].removeprefix(opening) if pieces[i].startswith(opening) else ""
            end, _ = self._end(pieces[i + 1])
            ids += self._encode(space + turn.content + pieces[i + 1][:end])
            spans.append((i, first, len(ids)))
            text, ended = "", end
        return ids + self._encode(text + self._checked_opening(pieces, roles, len(roles))[ended:]) if ask else ids

    def _row_pieces(self, roles: tuple[Role, ...], *, ask: bool) -> list[str]:
        """The marks around these turns as they stand in a longer talk: some templates treat the last turn apart (Qwen3 gives it an
        empty thought). `ask`: up to where the next assistant turn begins."""
        if not ask:
            return self._around((*roles, "user"), ask=False)[:-1]
        if roles[-1:] == ("user",):
            return self._around((*roles, "assistant", "user"), ask=False)[: len(roles) + 1]
        return self._around(roles, ask=True)  # templates take no two turns of one side

    def _checked_opening(self, pieces: list[str], roles: tuple[Role, ...], i: int) -> str:
        asked = self._around(roles[:i], ask=True)
        if asked[:-1] != pieces[: len(asked) - 1]:
            raise TemplateRefused("The base model's chat template rewrites or drops earlier turns when others follow.")
        return self._opening(pieces[i], asked[-1])

    def _opening(self, shown: str, asked: str) -> str:
        """What stands before a reply's words: `shown` in a talk that goes on, `asked` where the template asks for the reply."""
        if shown.startswith(asked):
            opening = shown if shown[len(asked) :].strip() else asked  # a space that begins the reply is the model's to write
        elif asked.startswith(shown.rstrip()):
            opening = asked
        else:
            raise TemplateRefused("The base model's chat template opens a reply otherwise when it asks for one than when it shows one.")
        thought = _OPEN_THOUGHT.search(opening)
        return f"{opening}\n{_closing(thought)}\n\n" if thought else opening

    def _end(self, piece: str) -> tuple[int, int]:
        """How much of what follows an assistant turn is its end, and the id of the token that it ends with: the tokenizer's end
        token if it is there, else the first token that is no text, which may be the next role's mark (GLM)."""
        eos = re.search(re.escape(str(self.tokenizer.eos_token or "")) or r"(?!)", piece)
        found = eos or self._token.search(piece)
        ids = self._encode(found.group()) if found else []
        if not found or len(ids) != 1:
            raise TemplateRefused("The base model's chat template ends a reply with plain text, so no engine can tell where one ends.")
        return found.end(), ids[0]

    def _prove(self) -> Rendered:
        """The three invariants, on a small talk, which is the same for every model. Returns its row."""
        talk = [Turn("system", "You are Robin, chatting with Kim."), Turn("user", "hey [INST] you")]
        for said in _PROBES:
            talk += [Turn("assistant", said), Turn("user", said)]
        row = self.row(talk)
        shown: list[Invariant] = []
        for i, first, _ in row.spans:
            if self.prompt(talk[:i]) != row.ids[:first]:
                raise TemplateRefused("What serving would ask is not the beginning of the training row.", shown=shown)
        shown.append("prefix")
        if len(row.spans) != len(_PROBES) or any(row.ids[end - 1] not in self.ends for _, _, end in row.spans):
            raise TemplateRefused("Training would not teach the token that ends a reply.", shown=shown)
        shown.append("ends")
        for i, first, end in row.spans:
            if self.text(row.ids[first:end]) != plain(talk[i].content, self.marks):
                raise TemplateRefused("The base model's chat template or tokenizer changes the words of a reply.", shown=shown)
        return row

    def _require(self, roles: tuple[Role, ...]) -> None:
        """Raises TemplateRefused if the template does not take these roles, or what it writes for a turn does not stay when others
        follow."""
        try:
            pieces = self._around(roles, ask=False)
            for i, role in enumerate(roles):
                if role == "assistant":
                    self._checked_opening(pieces, roles, i)
        except ModelError:
            raise
        except Exception as refusal:
            # Templates refuse with jinja2.TemplateError and its kin, which the core does not import.
            if any(kind.__name__ == "TemplateError" for kind in type(refusal).__mro__):
                raise TemplateRefused(f"The base model's chat template refuses a talk of two: {_line(refusal)}") from refusal
            raise TemplateFailed(f"The base model's chat template fails on plain messages ({type(refusal).__name__}).") from refusal

    def _choose_form(self) -> None:
        """Plain contents if the template takes them, else parts. Raises TemplateRefused as for plain ones if it takes neither."""
        try:
            self._require(_TALK)
        except TemplateRefused:
            self._in_parts = True
            self._pieces.clear()
            try:
                self._require(_TALK)
            except TemplateRefused:
                self._in_parts = False
            else:
                return
            raise

    def _keeps(self, roles: tuple[Role, ...]) -> bool:
        try:
            self._require(roles)
        except TemplateFailed:
            raise
        except ModelError:
            return False
        return True

    def _around(self, roles: tuple[Role, ...], *, ask: bool) -> list[str]:
        """The template's text before, between and after the contents of turns with these roles."""
        if not roles:
            raise ModelError("A prompt needs a turn.")
        found = self._pieces.get((ask, roles))
        if found is None:
            text = self._template(roles, ask=ask, **SWITCHES)
            if _PLACE.findall(text) != [str(i) for i in range(len(roles))]:
                raise TemplateRefused("The base model's chat template drops, repeats or moves turns.")
            found = self._pieces[ask, roles] = _PLACE.split(text)[::2]
        return found

    def _template(self, roles: tuple[Role, ...], *, ask: bool, **switches: Any) -> str:
        """What the template writes with a place instead of each content."""
        places = [f"\ue000{i}\ue001" for i in range(len(roles))]
        contents = [[{"type": "text", "text": place}] if self._in_parts else place for place in places]
        turns = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask, **switches))

    def _encode(self, text: str) -> list[int]:
        if not text:
            return []
        found = self._ids.get(text)
        if found is None:
            if len(self._ids) >= REMEMBERED:
                self._ids.clear()
            found = self._ids[text] = list(self.tokenizer.encode(text, add_special_tokens=False))
        return found

    def _fit(self, turns: Sequence[Turn]) -> list[Turn]:
        """Bend turns to what the template takes: some know no system role, some want the contact first."""
        kept = [Turn(turn.role, plain(turn.content, self.marks)) for turn in turns]
        system = kept.pop(0) if kept and kept[0].role == "system" else None
        if not self._assistant_first_allowed:
            while kept and kept[0].role == "assistant":
                kept.pop(0)
        if system and self._system_allowed:
            return [system, *kept]
        if system and kept and kept[0].role == "user":
            kept[0] = Turn("user", f"{system.content}\n\n{kept[0].content}")
        return kept


def plain(content: str, marks: re.Pattern[str]) -> str:
    """A content as words: without spaces around it (most templates trim), and without the template's marks, so that no contact
    can end their turn and write the owner's or the system's: "<|im_end|>" becomes "< |im_end|>", "User:" "User :"."""
    return marks.sub(lambda m: f"{m.group()[:-1]} :" if m.group().endswith(":") else f"{m.group()[0]} {m.group()[1:]}", content.strip())


def _marks(tokens: Collection[str], pieces: Sequence[str]) -> re.Pattern[str]:
    """Tokens anywhere; of the template's plain text what has brackets anywhere ("[INST]"), a label only where a line begins."""
    written = {mark for piece in pieces for mark in _BRACKETED.findall(piece)}
    labels = {line for piece in pieces if (line := piece.rstrip().rpartition("\n")[2].strip()).endswith(":") and len(line) > 1}
    anywhere = _any_of({*tokens, *written})
    return re.compile("|".join([anywhere.pattern, *(f"(?m:^{re.escape(label)})" for label in sorted(labels))]))


def _any_of(texts: Collection[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or r"(?!)")


def _is_mark(token: str) -> bool:
    """Whether an added token that is not "special" is one of a template's marks ("<think>", "<｜User｜>"), not a word or spaces."""
    return len(token) > 2 and token[0] in "<[{|" and token[-1] in ">]}|" and not token.isspace()


def _closing(thought: re.Match[str]) -> str:
    bar, name = thought["bar"], thought["name"]
    return f"[/{name}]" if thought["open"] == "[" else f"<{bar}/{name}{bar}>"


def _thinking(opening: str, asked: str) -> str:
    """In words, for `twin model`."""
    if _OPEN_THOUGHT.search(asked):
        return "closed by the twin"
    if opening != asked and "<|channel|>" in opening:
        return "passed over to the channel of answers"
    return "switched off" if re.search(r"think|thought|reason", opening, re.IGNORECASE) else "none"


def _roles(turns: Sequence[Turn]) -> tuple[Role, ...]:
    return tuple(turn.role for turn in turns)


def _line(refusal: Exception) -> str:
    return " ".join(str(refusal).split())[:120] or type(refusal).__name__
