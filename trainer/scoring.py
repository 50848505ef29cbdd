"""How likely a model finds the owner's real replies, and what it would say itself. Needs torch where it is called."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from trainer.examples import Example
from trainer.instructions import Talk
from twin.generator import Sampling
from twin.renderer import Renderer
from twin.turns import Turn

CONTEXTS = 5
CONTEXT_TOKENS = 160  # of the turns before a reply; the same for every model that is compared
TALKS, TALK_TOKENS = 80, 512
ANSWERS_AT_ONCE = 64
FIRST_ROUND = 16  # tokens; most of what people write in chats is shorter
LIKELIEST = 256
TOKENS_AT_ONCE = 1024  # padded; the logits of as many are in memory at a time


@dataclass(frozen=True)
class Item:
    """A held-out reply: the turns before it (system first) and what the owner really wrote."""

    dialog_id: int
    context: tuple[Turn, ...]
    reply: Turn


def choose_items(holdout: Sequence[Example], renderer: Renderer, items: int) -> list[Item]:
    """Held-out replies spread evenly over all chats and all times, the same ones at each call. Contexts are cut at their
    far end, between turns; a message longer than the limit stands alone. Only what is chosen is tokenised."""
    return [_item(example, target, renderer) for example, target in spread([(e, target) for e in holdout for target in e.targets], items)]


def _item(example: Example, target: int, renderer: Renderer) -> Item:
    start, used = target - 1, renderer.count(example.turns[target - 1])
    while start > 1 and used + renderer.count(example.turns[start - 1]) <= CONTEXT_TOKENS:
        start -= 1
        used += renderer.count(example.turns[start])
    return Item(example.dialog_id, (example.turns[0], *example.turns[start:target]), example.turns[target])


def choose_talks(talks: Sequence[Talk], renderer: Renderer, items: int = TALKS) -> list[Talk]:
    """General instructions to be scored beside so many items: those that are short enough, spread over the file, TALKS at most."""
    wanted = min(TALKS, max(CONTEXTS, items))
    return spread([talk for talk in spread(talks, 2 * TALKS) if sum(map(renderer.count, talk)) <= TALK_TOKENS], wanted)


T = TypeVar("T")


def spread(every: Sequence[T], wanted: int) -> list[T]:
    """So many of them at even distances, the same ones at each call."""
    wanted = min(wanted, len(every))
    return [every[i * len(every) // wanted] for i in range(wanted)]


def groups(items: Sequence[Item]) -> Iterator[tuple[list[Item], int]]:
    """Fives whose members lie far apart, so that they come from different chats and times wherever there are enough. The
    first `counted` of a five are scored; a five that lacks members is filled up with others as mere contexts."""
    apart = math.ceil(len(items) / CONTEXTS)
    for i in range(apart):
        own = list(range(i, len(items), apart))
        others = [j for j in range(len(items)) if j not in own][: CONTEXTS - len(own)]
        yield [items[j] for j in (*own, *others)], len(own)


@dataclass(frozen=True)
class Score:
    tokens: int
    nats: float  # summed, under the real context
    chosen: bool  # the real context gave the lowest loss


def score_group(model: Any, renderer: Renderer, group: Sequence[Item]) -> list[Score]:
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
        Score(len(replies[k]), nats[k][k], all(nats[k][k] < nats[c][k] for c in range(len(group)) if c != k)) for k in range(len(group))
    ]


@dataclass(frozen=True)
class Answer:
    """What a model said, and how sure it was: `mean_logprob` as in twin.generator.Generated."""

    text: str
    mean_logprob: float


def answers(model: Any, renderer: Renderer, items: Sequence[Item], sampling: Sampling) -> list[str]:
    """The words of `sampled`."""
    return [answer.text for answer in sampled(model, renderer, items, sampling)]


def sampled(model: Any, renderer: Renderer, items: Sequence[Item], sampling: Sampling) -> list[Answer]:
    """One sampled answer an item, in batches padded on the left. The same draws for every model that is compared.

    A batch goes on for as long as its longest answer, so it speaks in rounds and those that have ended leave between them.
    """
    import torch

    ends = _ends(model, renderer)
    said: list[list[int]] = [[] for _ in items]
    logprobs: list[list[float]] = [[] for _ in items]
    prompts = [renderer.prompt(item.context) for item in items]
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(sampling.seed or 0)
        for at in range(0, len(items), ANSWERS_AT_ONCE):
            speaking = list(range(at, min(at + ANSWERS_AT_ONCE, len(items))))
            for words in (min(FIRST_ROUND, sampling.max_new_tokens), sampling.max_new_tokens - FIRST_ROUND):
                if speaking and words > 0:
                    more = _continued(model, [prompts[i] + said[i] for i in speaking], ends, sampling, words)
                    for i, (ids, each) in zip(speaking, more, strict=True):
                        said[i] += ids
                        logprobs[i] += each
                speaking = [i for i in speaking if not said[i] or said[i][-1] not in ends]
    return [Answer(renderer.text(ids), sum(each) / len(each)) for ids, each in zip(said, logprobs, strict=True)]


def _ends(model: Any, renderer: Renderer) -> list[int]:
    named = model.generation_config.eos_token_id
    tokenizer: Any = renderer.tokenizer
    return sorted({*renderer.ends, tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None})


def _continued(
    model: Any, prompts: Sequence[list[int]], ends: list[int], sampling: Sampling, words: int
) -> list[tuple[list[int], list[float]]]:
    """What the model says next, at most so many tokens, up to and with the first end; and each token's log-probability under the
    model's own distribution, before temperature and top-p."""
    import torch
    from transformers import GenerationConfig

    longest = max(map(len, prompts))
    device = next(model.parameters()).device
    ids = torch.tensor([[ends[0]] * (longest - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    config = GenerationConfig(do_sample=False, max_new_tokens=words, eos_token_id=ends, pad_token_id=ends[0])
    steps: list[Any] = []  # a tensor of one log-probability a row for each token

    def choose(seen: Any, scores: Any) -> Any:
        chosen = draw(seen, scores, temperature=sampling.temperature, top_p=sampling.top_p) if sampling.temperature > 0 else scores
        picked = chosen.argmax(-1, keepdim=True)  # what `generate` takes next
        steps.append((scores.gather(-1, picked).float() - scores.float().logsumexp(-1, keepdim=True)).squeeze(-1))
        return chosen

    out = model.generate(input_ids=ids, attention_mask=mask, generation_config=config, logits_processor=[choose])
    rows = [row[longest:].tolist() for row in out]
    logprobs = torch.stack(steps, dim=1).tolist()
    lengths = [next((i for i, token in enumerate(row) if token in ends), len(row)) + 1 for row in rows]
    return [(row[:length], each[:length]) for row, each, length in zip(rows, logprobs, lengths, strict=True)]


def draw(_: Any, scores: Any, *, temperature: float, top_p: float) -> Any:
    """A step of `generate` that draws a token of each row's nucleus and leaves no other to choose.

    transformers sorts the whole vocabulary for it and draws from all of it: 470 of 490 ms a step for 50 rows of 49,152 tokens on
    two busy cores. The likeliest few hold the nucleus nearly always; only where they do not is everything sorted.
    """
    import torch

    scores = scores.float() / temperature
    total = scores.logsumexp(-1, keepdim=True)
    for count in (min(LIKELIEST, scores.shape[-1]), scores.shape[-1]):
        best, ids = scores.topk(count)
        shares = (best - total).exp()
        before = shares.cumsum(-1) - shares
        if bool((before[:, -1] >= top_p).all()):
            break
    picked = ids.gather(-1, torch.multinomial(shares * (before < top_p), 1))
    return torch.full_like(scores, -torch.inf).scatter_(-1, picked, 0.0)


def own_nats(model: Any, renderer: Renderer, talks: Sequence[tuple[Turn, ...]]) -> list[tuple[int, float]]:
    """Of each talk's last turn: its tokens and their summed loss (nats) under what comes before."""
    import torch

    rows = [renderer.row(talk) for talk in talks]
    device = next(model.parameters()).device
    found: list[tuple[int, float]] = [(0, 0.0)] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    while order:
        batch = [order.pop()]  # the longest; those beside it are about as long
        while order and (len(batch) + 1) * len(rows[batch[0]].ids) <= TOKENS_AT_ONCE:
            batch.append(order.pop())
        longest = max(len(rows[i].ids) for i in batch)
        # What stands right of a row's end is seen by nothing that is scored.
        ids = torch.tensor([[*rows[i].ids, *[0] * (longest - len(rows[i].ids))] for i in batch], device=device)
        first = min(rows[i].spans[-1][1] for i in batch) - 1
        logits = model(input_ids=ids, logits_to_keep=torch.arange(first, longest - 1, device=device), use_cache=False).logits
        each = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), ids[:, first + 1 :], reduction="none")
        for place, i in enumerate(batch):
            _, start, end = rows[i].spans[-1]
            found[i] = (end - start, each[place, start - first - 1 : end - first - 1].sum().item())
    return found
