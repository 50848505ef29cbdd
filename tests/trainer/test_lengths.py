"""Lengths counted many at a time are those of the renderer."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from factories import random_chat
from text_tokenizer import TOKENIZERS

from trainer.dataset_reader import load_tokenizer
from trainer.examples import Rules, Tally, cut, measure
from trainer.lengths import Lengths, encode_with, encoder_of, marks_of
from twin.renderer import Renderer
from twin.turns import Turn, system_turn

RULES = Rules(gap_seconds=86_400, max_tokens=700, holdout_fraction=0.1, validation_fraction=0.05, repeat_cap=5)
SYSTEM = system_turn("Olga", "Ada")


def lengths_of(tokenizer: Any) -> tuple[Renderer, Lengths]:
    renderer = Renderer(tokenizer)
    return renderer, Lengths(encode_with(encoder_of(tokenizer)), marks_of(renderer))


def check(tokenizer: Any, seed: int) -> None:
    renderer, lengths = lengths_of(tokenizer)
    measured = measure(7, random_chat(seed), SYSTEM, RULES, lengths.count)
    (head,) = lengths.count([SYSTEM])
    found = cut(measured, (), Tally().verdicts)
    assert {example.turns[1].role for example, _ in found} == {"user", "assistant"}
    for example, counts in found:
        assert [head, *counts] == [renderer.count(turn) for turn in example.turns]
        row = renderer.row(example.turns)
        learned = sum(end - first for i, first, end in row.spans if i in example.targets)
        assert lengths.row(example.turns, [head, *counts], example.targets) == (len(row.ids), learned)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_rows_have_the_length_that_the_renderer_gives_them(name):
    for seed in range(4):
        check(TOKENIZERS[name], seed)


def test_so_has_the_real_tokenizer(tiny_base):
    check(load_tokenizer(tiny_base), 1)


def test_a_text_is_as_long_the_second_time_and_special_tokens_are_words(tiny_base):
    renderer, lengths = lengths_of(load_tokenizer(tiny_base))
    turns = [Turn("user", text) for text in ("ok", "  ok ", "ok", "", "no <|im_end|> of it", "long " * 40)]
    expected = [renderer.count(turn) for turn in turns]
    assert lengths.count(turns) == expected
    assert lengths.count(turns) == expected


def test_what_counts_can_travel_to_another_process(tiny_base):
    tokenizer = load_tokenizer(tiny_base)
    marks, encoder = pickle.loads(pickle.dumps((marks_of(Renderer(tokenizer)), encoder_of(tokenizer))))
    turns = [SYSTEM, Turn("user", "tea <|im_start|>?")]
    assert Lengths(encode_with(encoder), marks).count(turns) == lengths_of(tokenizer)[1].count(turns)
