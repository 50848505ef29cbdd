"""Base, active and candidate side by side on messages none of them saw.

loss            nats a token of the owner's real replies, each under the context it answers
context choice  how often a real reply gets its lowest loss under the context it answers, among five contexts of other
                chats (chance 0.20): a model that learned the voice and stopped listening falls here
distinct        share of different answers among those sampled for different held-out messages

Loss alone lies: an adapter can win it and answer "hey are you there?" to everything. Each figure comes with its standard
error (binomial for shares, over items for the loss).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.dataset import load_tokenizer, read_examples
from trainer.examples import Example
from twin.base_folder import base_name, tokenizer_hash
from twin.errors import InputError, ModelError
from twin.generator import Sampling
from twin.progress import Progress, silent
from twin.turns import Renderer, Turn

CONTEXTS = 5
CONTEXT_TOKENS = 160  # of the turns before a reply; the same for every model that is compared
ANSWERS = 50
ANSWERS_AT_ONCE = 25


@dataclass(frozen=True)
class Item:
    """A held-out reply: the turns before it (system first) and what the owner really wrote."""

    dialog_id: int
    context: tuple[Turn, ...]
    reply: Turn


def evaluate(
    dataset: Path,
    base: Path,
    adapters: Sequence[Path],
    progress: Progress = silent,
    *,
    items: int = 240,
    answers: int = ANSWERS,
    sampling: Sampling | None = None,
) -> dict[str, dict[str, Any]]:
    """Figures of "base" and of each adapter (by its folder's name), on `items` replies or as many as there are.

    "answers" holds what was said to `answers` held-out messages: {"message", "owner", "answer"} each.
    Raises InputError if the holdout is too small to say anything, ModelError if an adapter does not belong to the base.
    """
    import torch

    renderer = Renderer(load_tokenizer(base))
    chosen = choose_items(list(read_examples(dataset, "holdout")), renderer, items)
    if len(chosen) < CONTEXTS:
        raise InputError(
            f"The holdout has {len(chosen)} replies; at least {CONTEXTS} are needed.",
            mend="Collect more history, or ask more contacts for consent.",
        )
    spoken = _spread(chosen, answers)
    model = _load(base, adapters)
    found: dict[str, dict[str, Any]] = {}
    groups = list(_groups(chosen))
    work = (1 + len(adapters)) * (len(groups) + len(spoken) / 10)
    done = 0.0
    for number, name in enumerate(["base", *(folder.name for folder in adapters)]):
        scores: list[_Score] = []
        with torch.inference_mode(), _speaking_as(model, number):
            for group, counted in groups:
                scores += _score_group(model, renderer, group)[:counted]
                done += 1
                progress(done, work, f"{name}: reading {len(scores)} of {len(chosen)}")
            progress(done, work, f"{name}: answering {len(spoken)} messages")
            said = _answers(model, renderer, spoken, sampling or Sampling())
            done += len(spoken) / 10
        found[name] = _figures(scores, said) | {
            "answers": [
                {"message": item.context[-1].content, "owner": item.reply.content, "answer": answer}
                for item, answer in zip(spoken, said, strict=True)
            ]
        }
    progress(work, work)
    return found


def choose_items(holdout: Sequence[Example], renderer: Renderer, items: int) -> list[Item]:
    """Held-out replies spread evenly over all chats and all times, the same ones at each call. Contexts are cut at their
    far end, between turns; a message longer than the limit stands alone."""
    every = []
    for example in holdout:
        for target in example.targets:
            start, used = target - 1, renderer.count(example.turns[target - 1])
            while start > 1 and used + renderer.count(example.turns[start - 1]) <= CONTEXT_TOKENS:
                start -= 1
                used += renderer.count(example.turns[start])
            every.append(Item(example.dialog_id, (example.turns[0], *example.turns[start:target]), example.turns[target]))
    return _spread(every, items)


def _spread(every: Sequence[Item], wanted: int) -> list[Item]:
    wanted = min(wanted, len(every))
    return [every[i * len(every) // wanted] for i in range(wanted)]


def _groups(items: Sequence[Item]) -> Iterator[tuple[list[Item], int]]:
    """Fives whose members lie far apart, so that they come from different chats and times wherever there are enough. The
    first `counted` of a five are scored; a five that lacks members is filled up with others as mere contexts."""
    apart = math.ceil(len(items) / CONTEXTS)
    for i in range(apart):
        own = list(range(i, len(items), apart))
        others = [j for j in range(len(items)) if j not in own][: CONTEXTS - len(own)]
        yield [items[j] for j in (*own, *others)], len(own)


@dataclass(frozen=True)
class _Score:
    tokens: int
    nats: float  # summed, under the real context
    chosen: bool  # the real context gave the lowest loss


def _score_group(model: Any, renderer: Renderer, group: Sequence[Item]) -> list[_Score]:
    """Every reply under every context of the group: one pass a context, all replies hanging from it as branches."""
    import torch

    prompts = [renderer.prompt(item.context) for item in group]
    replies = []
    for item, prompt in zip(group, prompts, strict=True):
        row = renderer.row((*item.context, item.reply))
        replies.append(row.ids[len(prompt) : row.spans[-1][2]])
    device = next(model.parameters()).device
    nats = [[0.0] * len(group) for _ in group]  # [context][reply]
    for c, prompt in enumerate(prompts):
        ids = torch.tensor([[*prompt, *(token for reply in replies for token in reply)]], device=device)
        starts = [len(prompt) + sum(len(r) for r in replies[:k]) for k in range(len(replies))]
        places = [*range(len(prompt)), *(len(prompt) + j for reply in replies for j in range(len(reply)))]
        branch = torch.tensor([0] * len(prompt) + [k + 1 for k, reply in enumerate(replies) for _ in reply], device=device)
        sees = ((branch[None, :] == 0) | (branch[None, :] == branch[:, None])).tril()
        # What predicts a branch's first token is the prompt's last position, then each token predicts the next.
        asked = torch.tensor(
            [p for s, r in zip(starts, replies, strict=True) for p in (len(prompt) - 1, *range(s, s + len(r) - 1))], device=device
        )
        logits = model(
            input_ids=ids,
            position_ids=torch.tensor([places], device=device),
            attention_mask=sees[None, None],
            logits_to_keep=asked,
            use_cache=False,
        ).logits[0]
        each = torch.nn.functional.cross_entropy(logits.float(), ids[0, len(prompt) :], reduction="none")
        for k, (start, reply) in enumerate(zip(starts, replies, strict=True)):
            nats[c][k] = each[start - len(prompt) : start - len(prompt) + len(reply)].sum().item()
    return [
        _Score(len(replies[k]), nats[k][k], all(nats[k][k] < nats[c][k] for c in range(len(group)) if c != k)) for k in range(len(group))
    ]


def _answers(model: Any, renderer: Renderer, items: Sequence[Item], sampling: Sampling) -> list[str]:
    """One sampled answer an item, in batches padded on the left. The same draws for every model that is compared."""
    import torch
    from transformers import GenerationConfig

    tokenizer: Any = renderer.tokenizer
    prompts = [renderer.prompt(item.context) for item in items]
    device = next(model.parameters()).device
    named = model.generation_config.eos_token_id
    ends = sorted({tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None})
    drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0} if sampling.temperature > 0 else {}
    config = GenerationConfig(
        do_sample=sampling.temperature > 0, max_new_tokens=sampling.max_new_tokens, eos_token_id=ends, pad_token_id=ends[0], **drawn
    )
    said = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(sampling.seed or 0)
        for at in range(0, len(prompts), ANSWERS_AT_ONCE):
            batch = prompts[at : at + ANSWERS_AT_ONCE]
            longest = max(map(len, batch))
            ids = torch.tensor([[ends[0]] * (longest - len(p)) + p for p in batch], device=device)
            mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in batch], device=device)
            out = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
            said += [tokenizer.decode(row[longest:], skip_special_tokens=True).strip() for row in out]
    return said


def _figures(scores: Sequence[_Score], said: Sequence[str]) -> dict[str, Any]:
    tokens = sum(s.tokens for s in scores)
    loss = sum(s.nats for s in scores) / tokens
    # Ratio estimator: the spread of each item's nats around what its tokens promise.
    spread = sum((s.nats - loss * s.tokens) ** 2 for s in scores)
    choice = sum(s.chosen for s in scores) / len(scores)
    different = len({" ".join(text.casefold().split()) for text in said}) / len(said)
    return {
        "loss": round(loss, 4),
        "loss_error": round(math.sqrt(spread) / tokens, 4),
        "context_choice": round(choice, 4),
        "context_choice_error": round(math.sqrt(choice * (1 - choice) / len(scores)), 4),
        "distinct": round(different, 4),
        "distinct_error": round(math.sqrt(different * (1 - different) / len(said)), 4),
        "items": len(scores),
    }


def _load(base: Path, adapters: Sequence[Path]) -> Any:
    """The base model with all adapters in it, as "a1", "a2", ... (PEFT's names may hold no dot)."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    for folder in adapters:
        _check(folder, base)
    logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, attn_implementation="sdpa", device_map={"": device})
    for number, folder in enumerate(adapters, 1):
        if number == 1:
            model = PeftModel.from_pretrained(model, folder, adapter_name="a1", autocast_adapter_dtype=False)
        else:
            model.load_adapter(folder, adapter_name=f"a{number}", autocast_adapter_dtype=False)
    return model.eval()


def _check(adapter: Path, base: Path) -> None:
    try:
        trained_on = json.loads((adapter / "manifest.json").read_text(encoding="utf-8"))["base"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ModelError(f"{adapter.name} is not a complete adapter.", mend="`twin adapters` lists those that are.") from exc
    if trained_on != {"name": base_name(base), "tokenizer": tokenizer_hash(base)}:
        raise ModelError(
            f"Adapter {adapter.name} was trained on {trained_on['name']} or with another tokenizer, not on {base_name(base)} as it is now.",
            mend="Set TWIN_MODEL__BASE back or train a new adapter.",
        )


def _speaking_as(model: Any, number: int) -> Any:
    """A context in which the model is the base (0) or its adapter of this number."""
    if number:
        model.set_adapter(f"a{number}")
        return nullcontext()
    return model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext()
