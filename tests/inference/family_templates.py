"""Chat templates of families that no installed package ships, as their makers write them for two people's plain messages. With each:
the tokenizer's end token and its special tokens; what else looks like a mark there is plain text."""

# ruff: noqa: E501 - a template is easier to compare with its makers' in their lines

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    template: str
    eos: str
    special: tuple[str, ...]


_CHATML = "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}"
_ALTERNATE = "{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{%- endif %}"

FAMILIES = {
    "Qwen3-Thinking": Family(
        _CHATML + "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}",
        "<|im_end|>",
        ("<|im_start|>", "<|endoftext|>"),
    ),
    "Llama 2": Family(
        "{%- if messages[0].role == 'system' %}{%- set loop_messages = messages[1:] %}{%- set sys = messages[0].content %}"
        "{%- else %}{%- set loop_messages = messages %}{%- set sys = false %}{%- endif %}{%- for m in loop_messages %}"
        + _ALTERNATE
        + "{%- if loop.index0 == 0 and sys %}{%- set c = '<<SYS>>\\n' + sys + '\\n<</SYS>>\\n\\n' + m.content %}{%- else %}{%- set c = m.content %}"
        "{%- endif %}{%- if m.role == 'user' %}{{ bos_token + '[INST] ' + c.strip() + ' [/INST]' }}"
        "{%- else %}{{ ' ' + c.strip() + ' ' + eos_token }}{%- endif %}{%- endfor %}",
        "</s>",
        ("<s>",),
    ),
    "Mistral": Family(
        "{{- bos_token }}{%- for m in messages %}"
        + _ALTERNATE
        + "{%- if m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}{%- elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
        "{%- else %}{{ raise_exception('Only user and assistant roles are supported!') }}{%- endif %}{%- endfor %}",
        "</s>",
        ("<s>", "[INST]", "[/INST]"),
    ),
    "Phi-4": Family(
        "{%- for m in messages %}{{ '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{%- endif %}",
        "<|endoftext|>",
        ("<|im_start|>", "<|im_sep|>", "<|im_end|>"),
    ),
    "SmolLM3": Family(
        "{{- '<|im_start|>system\\n## Metadata\\n\\nToday Date: ' + strftime_now('%d %B %Y') + '\\nReasoning Mode: ' }}"
        "{{- '/think' if enable_thinking else '/no_think' }}{{- '\\n\\n## Custom Instructions\\n\\n' }}"
        "{%- if messages[0].role == 'system' %}{{ messages[0].content }}{%- endif %}{{- '<|im_end|>\\n' }}"
        "{%- for m in messages if m.role != 'system' %}{{ '<|im_start|>' + m.role + '\\n' + m.content.lstrip('\\n') + '<|im_end|>\\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' if enable_thinking else '<|im_start|>assistant\\n<think>\\n\\n</think>\\n' }}"
        "{%- endif %}",
        "<|im_end|>",
        ("<|im_start|>", "<think>", "</think>"),
    ),
    "Granite": Family(
        "{%- if messages[0].role != 'system' %}{{ '<|start_of_role|>system<|end_of_role|>Knowledge Cutoff Date: April 2024.\\n' }}"
        "{{ \"Today's Date: \" + strftime_now('%B %d, %Y') + '.<|end_of_text|>\\n' }}{%- endif %}"
        "{%- for m in messages %}{{ '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}",
        "<|end_of_text|>",
        ("<|start_of_role|>", "<|end_of_role|>"),
    ),
    "Falcon": Family(
        "{%- for m in messages %}{%- if not loop.first %}{{ '\\n' }}{%- endif %}{%- if m.role == 'system' %}{{ 'System: ' + m.content }}"
        "{%- elif m.role == 'user' %}{{ 'User: ' + m.content }}{%- else %}{{ 'Falcon: ' + m.content }}{%- endif %}{%- endfor %}"
        "{%- if add_generation_prompt %}{{ '\\nFalcon:' }}{%- endif %}",
        "<|endoftext|>",
        (),
    ),
    "Falcon 3": Family(
        "{%- for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content }}{%- if m.role == 'assistant' %}{{ eos_token }}{%- endif %}{{ '\\n' }}"
        "{%- endfor %}{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{%- endif %}",
        "<|endoftext|>",
        (),
    ),
    "Zephyr": Family(
        "{%- for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + eos_token + '\\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{ '<|assistant|>' }}{%- endif %}",
        "</s>",
        ("<s>",),
    ),
    "Vicuna": Family(
        "{%- for m in messages %}{%- if m.role == 'system' %}{{ m.content + ' ' }}{%- elif m.role == 'user' %}{{ 'USER: ' + m.content + ' ' }}"
        "{%- else %}{{ 'ASSISTANT: ' + m.content + eos_token }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{ 'ASSISTANT:' }}{%- endif %}",
        "</s>",
        ("<s>",),
    ),
}
