"""What a model said, as a person could have said it: checked once more before it becomes a draft, whatever the contact's mode.

thoughts    <think>...</think> and its kin, closed or not, and channels that are not the one of answers
marks       role marks and end marks: whatever follows one is another turn, which is not the owner's
ours        the product's own: "[photo]", "[phone]", "> a quote", the system sentence
loops       the same bubble twice in a row, the same phrase three times

They are cut. If nothing is left, there was no answer, and the drafter asks again.
"""

from __future__ import annotations

import re
from collections import Counter

from twin.masking import MASK
from twin.turns import join_bubbles, split_bubbles

_NAME = r"(?:\w+[:_-])?(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis|reflection|scratchpad|inner_monologue)"
_OPEN = rf"(?:<\|?{_NAME}\|?>|\[{_NAME}\]|◁think▷|<\|(?:begin|start)_of_thought\|>)"
_CLOSE = rf"(?:<\|?/{_NAME}\|?>|\[/{_NAME}\]|◁/think▷|<\|end_of_thought\|>)"
_THOUGHT = re.compile(rf"{_OPEN}.*?(?:{_CLOSE}|\Z)", re.IGNORECASE | re.DOTALL)
_CLOSED = re.compile(rf"\A.*{_CLOSE}", re.IGNORECASE | re.DOTALL)  # what the template had opened
# gpt-oss: <|channel|>analysis<|message|>a thought<|end|><|start|>assistant<|channel|>final<|message|>the answer
_FINAL = re.compile(r"\A.*<\|channel\|>\s*final[^<]*<\|message\|>", re.IGNORECASE | re.DOTALL)
_CHANNEL = re.compile(r"<\|channel\|>.*\Z", re.IGNORECASE | re.DOTALL)
# The same where a tokenizer has swallowed the marks, which are special tokens.
_BARE_FINAL = re.compile(r"\A(?:assistant)?analysis.*?assistantfinal", re.DOTALL)
_BARE_ANALYSIS = re.compile(r"\A(?:assistant)?(?:analysis|commentary)(?=[A-Z].*\Z).*\Z", re.DOTALL)
_ROLE = r"(?:system|user|assistant|human|model|tool|developer|ipython)"
_MARK = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<｜[^｜<>]{1,40}｜>|</?s>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>|<end_of_utterance>|\[/?(?:INST|SYSTEM_PROMPT)\]"
    rf"|<</?SYS>>|<\|?/?{_ROLE}\|?>|(?m:^#{{2,4}}\s*(?:{_ROLE}|instruction|response|input)\b)|(?m:^{_ROLE}$)",
    re.IGNORECASE,
)
_LABEL = re.compile(rf"^{_ROLE}\s?:\s*", re.IGNORECASE)
_KIND = re.compile(
    r"\[(?:photo|video|voice|audio|sticker|animation|gif|document|file|round video|video_note|contact|location|venue|poll|dice|game|story"
    r"|invoice|service|media|unsupported|paid_media|giveaway|todo|call)\]",
    re.IGNORECASE,
)
_SYSTEM = re.compile(r"\bYou are [^\n]{1,200}, chatting with [^\n]{1,200}", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"‹[^›\n]{1,30}›")
_WORDS = re.compile(r"\S+")
PHRASE_WORDS, PHRASE_TIMES = 3, 3


def cleaned(text: str) -> str:
    """A generated turn without what no person writes; empty if nothing else is in it. What is fit stays as it is, letter by letter."""
    text = _FINAL.sub("", text) if _FINAL.search(text) else _CHANNEL.sub("", text)
    text = _BARE_FINAL.sub("", text) if _BARE_FINAL.search(text) else _BARE_ANALYSIS.sub("", text)
    text = _CLOSED.sub("", _THOUGHT.sub("", text)) if "<" in text or "[" in text or "◁" in text else text
    text = _LABEL.sub("", text.lstrip()) if _LABEL.match(text.lstrip()) else text
    mark = _MARK.search(text)
    while mark and not text[: mark.start()].strip():  # one that opens the turn
        text = text[mark.end() :].lstrip()
        text = _LABEL.sub("", text)
        mark = _MARK.search(text)
    text = text[: mark.start()] if mark else text
    bubbles: list[str] = []
    for bubble in split_bubbles(text):
        if bubbles and _LABEL.match(bubble):
            break  # another turn
        kept = _without_ours(bubble)
        if kept and not (bubbles and _same(kept, bubbles[-1])):
            bubbles.append(kept)
    return join_bubbles(_without_loop(bubbles))


def _without_ours(bubble: str) -> str:
    """Without the product's marks; empty if they are all of it, or if it says what only the prompt says."""
    if _SYSTEM.search(bubble) or MASK.search(bubble) or _PLACEHOLDER.search(bubble):
        return ""
    lines = [line for line in bubble.split("\n") if not line.startswith("> ")]
    rest = _KIND.sub("", "\n".join(lines))
    return rest.strip() if rest != bubble else bubble


def _same(one: str, other: str) -> bool:
    return " ".join(one.casefold().split()) == " ".join(other.casefold().split())


def _without_loop(bubbles: list[str]) -> list[str]:
    """Up to where a phrase comes for the second time, if it comes three times or more."""
    text = "\n".join(bubbles)
    words = list(_WORDS.finditer(text))
    folded = [re.sub(r"\W+", "", word.group().casefold()) for word in words]
    phrases = [tuple(folded[i : i + PHRASE_WORDS]) for i in range(len(words) - PHRASE_WORDS + 1)]
    often = {phrase for phrase, times in Counter(phrases).items() if times >= PHRASE_TIMES and len(set(phrase)) > 1 and all(phrase)}
    met: set[tuple[str, ...]] = set()
    for i, phrase in enumerate(phrases):
        if phrase in often and phrase in met:
            return [line for line in text[: words[i].start()].rstrip(" ,;–—-").split("\n") if line.strip()]
        met.add(phrase)
    return bubbles
