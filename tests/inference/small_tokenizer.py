"""A tokenizer that needs no file: one token a byte, ChatML marks as single tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class ByteTokenizer:
    """In memory, for the renderer."""

    eos_token = "<|im_end|>"
    chat_template = CHATML
    added_tokens_decoder: ClassVar[dict[int, Any]] = {}

    def apply_chat_template(self, conversation: Any, *, tokenize: bool, add_generation_prompt: bool, **switches: Any) -> str:
        text = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in conversation)
        return text + "<|im_start|>assistant\n" * add_generation_prompt

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return list(text.encode().replace(b"<|im_start|>", b"\x01").replace(b"<|im_end|>", b"\x02"))

    def decode(self, ids: list[int], *, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False) -> str:
        return bytes(i for i in ids if i > 2 or not skip_special_tokens).decode(errors="replace")


def save_small_base(folder: Path) -> Path:
    """A base model folder with a byte tokenizer and without weights: enough for prompts over HTTP."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>")
    fast.chat_template = CHATML
    fast.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 2048}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [fast.eos_token_id, 7]}))
    (folder / "manifest.json").write_text(json.dumps({"base": "small", "revision": None}))
    return folder


def save_empty_adapter(folder: Path, base: str = "small") -> Path:
    """What `check_adapter` reads, and no weights."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": base}))
    (folder / "manifest.json").write_text(json.dumps({"name": folder.name, "base": {"name": base}}))
    return folder
