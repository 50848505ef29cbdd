"""Tokenizers of plain text, one for each habit that chat templates have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import jinja2

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "<bos>{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (  # the system's words stand in the last user turn: history is rewritten
    "<s>{% for m in messages %}{% if m.role == 'user' %}[INST] "
    "{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% endif %}{{ m.content }}[/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
QWEN = (  # the last turn alone gets an empty thought
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass
class Token:
    content: str
    special: bool = True

    def __str__(self) -> str:
        return self.content


class TextTokenizer:
    """One token a special token, else one a character."""

    def __init__(self, template: str, eos: str, *special: str) -> None:
        self.chat_template, self.eos_token = template, eos
        self.added_tokens_decoder = dict(enumerate(map(Token, (eos, *special))))
        self._split = re.compile("|".join(map(re.escape, (eos, *special))) + "|.", re.DOTALL)

    def apply_chat_template(self, conversation: Any, *, tokenize: bool, add_generation_prompt: bool) -> str:
        def refuse(reason: str) -> None:
            raise jinja2.TemplateError(reason)

        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = refuse
        return environment.from_string(self.chat_template).render(messages=conversation, add_generation_prompt=add_generation_prompt)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [sum(ord(c) * 7**i for i, c in enumerate(token)) for token in self._split.findall(text)]

    def decode(self, ids: list[int]) -> str:
        known = {self.encode(t, add_special_tokens=False)[0]: t for t in map(str, self.added_tokens_decoder.values())}
        return "".join(known.get(i) or chr(i) for i in ids)


TOKENIZERS = {
    "chatml": TextTokenizer(CHATML, "<|im_end|>", "<|im_start|>"),
    "gemma": TextTokenizer(GEMMA, "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
    "mistral": TextTokenizer(MISTRAL, "</s>", "<s>", "[INST]", "[/INST]"),
    "qwen": TextTokenizer(QWEN, "<|im_end|>", "<|im_start|>"),
}
