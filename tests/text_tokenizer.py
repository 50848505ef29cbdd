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
        self._special = (eos, *special)
        self.added_tokens_decoder = dict(enumerate(map(Token, self._special)))
        self._split = re.compile("|".join(map(re.escape, (eos, *special))) + "|.", re.DOTALL)

    def apply_chat_template(self, conversation: Any, *, tokenize: bool, add_generation_prompt: bool, **switches: Any) -> str:
        def refuse(reason: str) -> None:
            raise jinja2.TemplateError(reason)

        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = refuse
        template = environment.from_string(self.chat_template)
        return template.render(messages=conversation, add_generation_prompt=add_generation_prompt, **switches)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [sum(ord(c) * 7**i for i, c in enumerate(token)) for token in self._split.findall(text)]

    def decode(self, ids: list[int], *, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False) -> str:
        known = {self.encode(t, add_special_tokens=False)[0]: t for t in self._special}
        return "".join(("" if skip_special_tokens else known[i]) if i in known else chr(i) for i in ids)


TOKENIZERS = {
    "chatml": TextTokenizer(CHATML, "<|im_end|>", "<|im_start|>"),
    "gemma": TextTokenizer(GEMMA, "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
    "mistral": TextTokenizer(MISTRAL, "</s>", "<s>", "[INST]", "[/INST]"),
    "qwen": TextTokenizer(QWEN, "<|im_end|>", "<|im_start|>"),
}

# Chat templates as the makers of these families write them, shortened to what two people need. `eos` is what the tokenizer names.
QWEN3 = (  # thinks unless told not to; history shows no thoughts
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
QWEN3_THINKING = (  # opens a thought by itself, whatever it is told
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
SHOWN_THOUGHT = (  # an empty thought before each reply that it shows, none where it asks for one
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GPT_OSS = (
    "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}"
    "<|message|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
GLM = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}<think></think>\n{% endif %}{{ m.content }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% if enable_thinking is false %}<think></think>{% endif %}{% endif %}"
)
ZEPHYR = (  # its marks are plain text
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
FALCON = (
    "{% for m in messages %}{% if not loop.first %}\n{% endif %}"
    "{{ {'user': 'User', 'assistant': 'Falcon', 'system': 'System'}[m.role] }}: {{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}\nFalcon:{% endif %}"
)
DATED = (  # Llama 3.2, SmolLM3: today's date stands in the system turn
    "<|begin|>{% for m in messages %}<|head|>{{ m.role }}<|/head|>\n\n{% if m.role == 'system' %}"
    "Today Date: {{ date_string or strftime_now('%d %b %Y') }}\nToday is {{ strftime_now('%A') }}.\n\n{% endif %}{{ m.content }}<|eot|>"
    "{% endfor %}{% if add_generation_prompt %}<|head|>assistant<|/head|>\n\n{% endif %}"
)
