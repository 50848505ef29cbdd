"""Base model folders with two random layers and a small vocabulary: what training does to them is the same, only faster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal, NamedTuple

TOKENIZER_FILES = ("tokenizer_config.json", "chat_template.jinja")
VOCABULARY = 2_048  # tokens; with the sample model's 49,152 nearly all of the time went into the output head
EMBEDDING_STD = 0.3


def save_tiny_llama(folder: Path, tokenizer_of: Path, *, seed: int = 0, head_dim: int = 16) -> Path:
    """vLLM's CPU attention wants a `head_dim` of 32 at least."""
    _save_model(folder, "llama", VOCABULARY, end=2, seed=seed, head_dim=head_dim)
    _save_tokenizer(folder, tokenizer_of)
    (folder / "manifest.json").write_text(json.dumps({"base": "example/tiny-llama", "revision": None}))
    return folder


class Family(NamedTuple):
    """What a maker's model has of its own. `eos`: the tokenizer's end token, which need not be the one that ends a turn; `plain`:
    marks that are added tokens and not special ones."""

    model_type: Literal["llama", "qwen3"]
    template: str
    eos: str
    special: tuple[str, ...]
    plain: tuple[str, ...] = ()


def save_tiny_family(folder: Path, tokenizer_of: Path, family: Family) -> Path:
    """A model of the family's architecture with its template and marks, for both engines. Its makers name their end token only."""
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    folder.mkdir()
    _save_tokenizer(folder, tokenizer_of)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken(mark, special=True, normalized=False) for mark in (family.eos, *family.special)])
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in family.plain])
    tokenizer.bos_token, tokenizer.eos_token, tokenizer.chat_template = family.special[0], family.eos, family.template
    tokenizer.save_pretrained(folder)
    _save_model(folder, family.model_type, len(tokenizer), end=tokenizer.eos_token_id, seed=0, head_dim=32)
    (folder / "manifest.json").write_text(json.dumps({"base": f"example/tiny-{family.model_type}", "revision": None}))
    return folder


def _save_model(folder: Path, model_type: str, vocabulary: int, *, end: int, seed: int, head_dim: int) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        model_type,
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head_dim,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=end,
        pad_token_id=end,
        initializer_range=0.1,
    )
    model = AutoModelForCausalLM.from_config(config)
    # The head is tied to them, so they must be long for it to be sure of a token; and the end of a turn, which is the padding
    # too, would get zeros, and could never be said.
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=EMBEDDING_STD)
    model.to(torch.bfloat16).save_pretrained(folder)


def _save_tokenizer(folder: Path, tokenizer_of: Path) -> None:
    for name in TOKENIZER_FILES:
        if (tokenizer_of / name).exists():
            shutil.copy(tokenizer_of / name, folder)
    (folder / "tokenizer.json").write_text(json.dumps(_cut(json.loads((tokenizer_of / "tokenizer.json").read_text()))))


def _cut(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """The same byte-level BPE with its first tokens alone, in which everything can be said: marks, bytes, the commonest pieces."""
    model = tokenizer["model"]
    vocabulary = {token: number for token, number in model["vocab"].items() if number < VOCABULARY}
    merges = [pair for pair in model["merges"] if "".join(pair if isinstance(pair, list) else pair.split(" ")) in vocabulary]
    return tokenizer | {"model": model | {"vocab": vocabulary, "merges": merges}}
