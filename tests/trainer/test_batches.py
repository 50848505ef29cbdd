"""The loss is on the owner's words and the end of their turn, on nothing else, however rows are packed into batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from factories import chat, exchanges, me, them

from trainer.batches import Row, micro_batches, steps, to_rows
from trainer.dataset_reader import load_tokenizer
from trainer.examples import Example, Rules, Tally, examples_of
from trainer.lora import batch_loss
from twin.prompting import live_prompt
from twin.renderer import Renderer
from twin.turns import Message, Turn, split_bubbles, system_turn

DAY_SECONDS = 86_400.0
TALK = (
    system_turn("Olga", "Ada"),
    Turn("user", "hi"),
    Turn("assistant", "hey\nyou"),
    Turn("user", "tea?"),
    Turn("assistant", "yes :)"),
    Turn("user", "and now?"),
    Turn("assistant", "sleep"),
)


@pytest.fixture(scope="module")
def renderer(base: Path) -> Renderer:
    return Renderer(load_tokenizer(base))


def rows_of(messages: list[Message], renderer: Renderer) -> list[tuple[Example, Row]]:
    rules = Rules(DAY_SECONDS, 512, 0.1, 0.05, 5)
    found = examples_of(7, messages, system_turn("Olga", "Ada"), rules, renderer.count, Tally())
    return list(zip(found, to_rows(found, renderer), strict=True))


# --- the mask of the loss -----------------------------------------------------------------------------------------------


def test_exactly_the_owners_target_words_and_the_end_of_turn_are_learned(renderer):
    (row,) = to_rows([Example(7, "train", TALK, (2, 6), (1, 2))], renderer)
    decode = renderer.tokenizer.decode
    assert decode([row.ids[p] for p in row.targets]) == "hey\nyou<|im_end|>sleep<|im_end|>"
    rest = [token for p, token in enumerate(row.ids) if p not in row.targets]
    assert decode(rest) == (
        "<|im_start|>system\nYou are Olga, chatting with Ada.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        "\n<|im_start|>user\ntea?<|im_end|>\n<|im_start|>assistant\nyes :)<|im_end|>\n"
        "<|im_start|>user\nand now?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_row_without_targets_is_no_row(renderer):
    assert to_rows([Example(7, "train", TALK, (), ())], renderer) == []


def test_the_tokens_are_those_of_the_models_own_template(renderer):
    (row,) = to_rows([Example(7, "train", TALK, (2,), (1,))], renderer)
    turns = [{"role": turn.role, "content": turn.content} for turn in TALK]
    whole = renderer.tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    assert list(row.ids) == whole[: len(row.ids)]
    assert renderer.tokenizer.decode(whole[len(row.ids) :]) == "\n"


def test_a_live_prompt_is_the_beginning_of_the_training_row(renderer):
    messages = chat(
        me("morning"),
        them("hi"),
        them("write to ada@example.org"),
        me("ok"),
        me("two\nlines"),
        them("", kind="voice"),
        me("cannot listen now"),
        them("then read this", reply_to_id=4),
        them("<|im_end|> is no mark"),
        me("funny"),
    )
    compared = 0
    for example, row in rows_of(messages, renderer):
        for i, first, _ in renderer.row(example.turns).spans:
            if i not in example.targets:
                continue
            first_bubble = split_bubbles(example.turns[i].content)[0]
            answer = next(m for m in messages if m.out and m.text == first_bubble)
            known = [m for m in messages if m.message_id < answer.message_id]
            live = live_prompt(known, "Olga", "Ada", DAY_SECONDS)
            assert renderer.prompt(live) == list(row.ids[:first])
            compared += 1
    assert compared == 3


# --- the loss ---------------------------------------------------------------------------------------------------------


def small_model(family: str, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, CohereConfig, Gemma2Config, GraniteConfig, LlamaConfig

    size = {
        "vocab_size": 128,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.3,
    }
    config = {
        "llama": lambda: LlamaConfig(**size),
        "gemma2": lambda: Gemma2Config(**size, head_dim=8, final_logit_softcapping=2.0, attn_logit_softcapping=None),
        "granite": lambda: GraniteConfig(**size, logits_scaling=4.0),
        "cohere": lambda: CohereConfig(**size, logit_scale=0.25),
    }[family]()
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(getattr(torch, dtype)).eval()


def plain_loss(model: Any, row: Row) -> float:
    """Cross-entropy from the whole logits, as Hugging Face computes them."""
    import torch

    logits = model(input_ids=torch.tensor([row.ids])).logits[0].float()
    labels = torch.full((len(row.ids),), -100)
    for p in row.targets:
        labels[p] = row.ids[p]
    return torch.nn.functional.cross_entropy(logits[:-1], labels[1:], reduction="sum").item()


ROWS = [Row(tuple((7 * i * n + n) % 128 for i in range(1, 6 + 9 * n)), tuple(range(3 + n, 5 + 2 * n))) for n in range(1, 5)]


@pytest.mark.parametrize(
    ("family", "dtype", "tolerance"),
    [
        ("llama", "float32", 1e-5),
        ("llama", "bfloat16", 2e-2),
        ("gemma2", "float32", 1e-5),
        ("granite", "float32", 1e-5),
        ("cohere", "float32", 1e-5),
    ],
)
def test_a_padded_batch_has_the_loss_of_its_rows_and_they_that_of_the_whole_logits(family, dtype, tolerance):
    import torch

    model = small_model(family, dtype)
    with torch.inference_mode():
        together, count = batch_loss(model, ROWS)
        apart = [batch_loss(model, [row])[0].item() for row in ROWS]
        plain = [plain_loss(model, row) for row in ROWS]
    assert count == sum(len(row.targets) for row in ROWS)
    assert apart == pytest.approx(plain, rel=tolerance)
    assert together.item() == pytest.approx(sum(plain), rel=tolerance)


def test_what_a_family_does_to_its_logits_counts():
    """Without its soft cap the same weights give another loss: the test above would notice a head run on its own."""
    capped, free = small_model("gemma2", "float32"), small_model("gemma2", "float32")
    free.config.final_logit_softcapping = None
    assert abs(plain_loss(capped, ROWS[0]) - plain_loss(free, ROWS[0])) > 0.1


def test_on_a_cpu_no_copy_of_the_logits_in_fp32_is_kept_for_the_gradient():
    import torch

    model, kept = small_model("llama", "bfloat16"), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append((t.shape[-1:], t.dtype)) or t, lambda t: t):
        batch_loss(model, ROWS)
    vocabulary = {dtype for last, dtype in kept if tuple(last) == (model.config.vocab_size,)}
    assert torch.float32 not in vocabulary


# --- batches ----------------------------------------------------------------------------------------------------------


def many(count: int) -> list[Row]:
    return [Row(tuple(range(5 + (i * 37) % 90)), (4,)) for i in range(count)]


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_every_row_is_in_one_batch_and_none_is_too_wide(seed):
    rows = [*many(300), Row(tuple(range(900)), (4,))]
    batches = list(micro_batches(rows, 400, seed=seed))
    assert sorted(len(row.ids) for batch in batches for row in batch) == sorted(len(row.ids) for row in rows)
    assert all(len(batch) == 1 or max(len(row.ids) for row in batch) * len(batch) <= 400 for batch in batches)
    real = sum(len(row.ids) for row in rows)
    padded = sum(max(len(row.ids) for row in batch) * len(batch) for batch in batches)
    assert padded < 1.15 * real
    assert list(micro_batches(rows, 400, seed=seed)) == batches


def test_epochs_differ_and_a_step_is_about_as_big_as_asked():
    def sizes(epoch: int) -> list[int]:
        found = steps(many(600), batch_tokens=2000, padded_tokens=500, seed=1, epoch=epoch)
        return [sum(len(row.ids) for batch in group for row in batch) for group in found]

    assert sizes(0) != sizes(1)
    assert sizes(0) == sizes(0)
    assert sum(sizes(0)) == sum(len(row.ids) for row in many(600))
    assert all(1600 <= size <= 2400 for size in sizes(0)[:-1])
    assert list(steps([], batch_tokens=2000, padded_tokens=500, seed=1, epoch=0)) == []


def alike(count: int) -> list[Row]:
    return [Row(tuple(range(100)), (4,)) for _ in range(count)]


@pytest.mark.parametrize(("padded_tokens", "sizes"), [(299, [2, 2]), (300, [3, 1]), (399, [3, 1]), (400, [4]), (99, [1, 1, 1, 1])])
def test_a_batch_takes_as_many_rows_as_fit(padded_tokens: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in micro_batches(alike(4), padded_tokens, seed=None)] == sizes


@pytest.mark.parametrize(("batch_tokens", "sizes"), [(200, [2, 2, 1]), (250, [2, 2, 1]), (251, [3, 2])])
def test_a_step_ends_where_it_is_nearest_to_its_goal(batch_tokens: int, sizes: list[int]) -> None:
    found = steps(alike(5), batch_tokens=batch_tokens, padded_tokens=100, seed=1, epoch=0)
    assert [len(group) for group in found] == sizes


def test_without_a_seed_the_rows_come_in_order_and_with_one_shuffled():
    rows = [Row(tuple(range(10)), (place % 9 + 1, place // 9 + 1)) for place in range(80)]

    def order(seed: int | None) -> list[Row]:
        return [row for batch in micro_batches(rows, 10, seed=seed) for row in batch]

    assert order(None) == rows
    assert order(1) != rows
    assert sorted(order(1), key=rows.index) == rows


def test_rows_of_a_chat_hold_each_answer_once(renderer):
    learned = [renderer.tokenizer.decode([row.ids[p] for p in row.targets]) for _, row in rows_of(exchanges(60), renderer)]
    assert sorted(part for text in learned for part in text.split("<|im_end|>") if part) == sorted(
        f"answer 7 number {i}" for i in range(60)
    )
