"""A run learns what is new, repeats an even share of the old, and hears some general instructions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.dataset_reader import load_tokenizer
from trainer.examples import Example
from trainer.instructions import held_out, training_rows
from trainer.mixture import Mixture, mix
from trainer.train import adapter_name
from twin.errors import NothingNew
from twin.renderer import Renderer
from twin.settings import Training
from twin.turns import Turn

PLAIN = Training(generic=0.0)


@pytest.fixture(scope="module")
def renderer(tiny_base: Path) -> Renderer:
    return Renderer(load_tokenizer(tiny_base))


def window(dialog_id: int, *at: int) -> Example:
    turns = [Turn("system", "You are Olga.")]
    for moment in at:
        turns += [Turn("user", f"question {moment:05}?"), Turn("assistant", f"answer {moment:05}")]
    return Example(dialog_id, "train", tuple(turns), tuple(range(2, 2 * len(at) + 1, 2)), at)


def moments(mixture: Mixture, renderer: Renderer) -> list[int]:
    """When the first answer of each of one's own rows was written."""
    texts = [renderer.tokenizer.decode(row.ids) for row in mixture.rows]
    return [int(text.split("answer ")[1][:5]) for text in texts if "You are Olga." in text]


class CountingRenderer:
    """Counts what is rendered: the costly part."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer, self.rows = renderer, 0

    def row(self, turns: Any) -> Any:
        self.rows += 1
        return self.renderer.row(turns)


def test_a_full_run_learns_everything_and_some_general_instructions(renderer):
    found = mix([window(1, i) for i in range(200)], training_rows(None), renderer, Training(), None)
    assert (found.new_targets, found.replay_tokens) == (200, 0)
    assert moments(found, renderer) == list(range(200))
    assert 0.1 <= found.generic_tokens / found.new_tokens < 0.15
    assert sum(len(row.ids) for row in found.rows) == found.new_tokens + found.generic_tokens


def test_only_new_replies_of_a_window_are_learned_as_new(renderer):
    found = mix([window(1, 10, 20, 30)], [], renderer, PLAIN, {"1": 20})
    (row,) = found.rows
    learned = renderer.tokenizer.decode([row.ids[i] for i in row.targets])
    assert "answer 00030" in learned
    assert "answer 00020" not in learned
    assert "answer 00020" in renderer.tokenizer.decode(row.ids)
    assert found.new_targets == 1


def test_a_dialog_that_the_parent_never_saw_is_new_as_a_whole(renderer):
    found = mix([window(1, 10, 20), window(2, 5, 6)], [], renderer, PLAIN.model_copy(update={"replay": 0.0}), {"1": 20})
    assert (found.new_targets, moments(found, renderer)) == (2, [5])


def test_nothing_new_is_said_and_not_trained(renderer):
    with pytest.raises(NothingNew, match="Nothing new"):
        mix([window(1, 10)], training_rows(None), renderer, Training(), {"1": 10})


def test_a_long_history_costs_no_more_than_a_short_one(renderer):
    counts = []
    for old in (200, 5_000):
        counting = CountingRenderer(renderer)
        new = [window(1, 10_000 + i) for i in range(20)]
        mix([*(window(1, i) for i in range(old)), *new], training_rows(None), counting, Training(), {"1": 9_999})  # type: ignore[arg-type]
        counts.append(counting.rows)
    assert counts[0] < 60
    assert counts[1] <= counts[0] + 2


@pytest.mark.parametrize("history", [1_000, 1_001, 1_024])
def test_what_is_repeated_is_spread_evenly_over_the_history_and_the_same_each_time(renderer, history):
    known = [window(1, i) for i in range(history)]
    new = [window(1, 5_000 + i) for i in range(100)]
    one, again = (mix([*known, *new], [], renderer, PLAIN, {"1": 4_999}) for _ in range(2))
    assert one == again
    assert 0.95 < one.replay_tokens / one.new_tokens < 1.05
    old = sorted(moment for moment in moments(one, renderer) if moment < 5_000)
    assert len(set(old)) == len(old) == pytest.approx(100, abs=5)
    gaps = [b - a for a, b in zip([0, *old], [*old, history], strict=True)]
    assert max(gaps) < 3 * history / 100  # chance alone would leave gaps of more than four times the mean


def test_the_next_night_repeats_others(renderer):
    known = [window(1, i) for i in range(1_000)]
    nights = [
        {
            m
            for m in moments(mix([*known, *(window(1, at + i) for i in range(50))], [], renderer, PLAIN, {"1": at - 1}), renderer)
            if m < 1_000
        }
        for at in (5_000, 6_000)
    ]
    assert len(nights[0] & nights[1]) < 25


@pytest.mark.parametrize(("replay", "low", "high"), [(0.0, 0.0, 0.0), (0.5, 0.45, 0.55), (3.0, 2.9, 3.1)])
def test_how_much_is_repeated_is_a_setting(renderer, replay, low, high):
    history = [window(1, i) for i in range(1_000)]
    found = mix(
        [*history, *(window(1, 5_000 + i) for i in range(100))], [], renderer, PLAIN.model_copy(update={"replay": replay}), {"1": 4_999}
    )
    assert low <= found.replay_tokens / found.new_tokens <= high


def test_what_is_held_out_is_never_mixed_in(renderer):
    found = mix([window(1, i) for i in range(2_000)], training_rows(None), renderer, Training(generic=10.0), None)
    texts = {renderer.tokenizer.decode(row.ids) for row in found.rows}
    assert {renderer.tokenizer.decode(renderer.row(talk).ids) for talk in training_rows(None)} <= texts
    assert not {renderer.tokenizer.decode(renderer.row(talk).ids) for talk in held_out(None)} & texts


def test_it_says_its_shares():
    assert str(Mixture([], 1, 420, 450, 130)) == "42 % new, 45 % repeated, 13 % general"
    assert str(Mixture([], 1, 900, 0, 100)) == "90 % new, 10 % general"


def test_another_file_of_instructions_makes_another_adapter_and_the_same_elsewhere_does_not(toy, tiny_base, tmp_path):
    row = {"instruction": "Say hello.", "output": "Hello!"}
    one, copy, other = (tmp_path / name for name in ("one.json", "copy.json", "other.json"))
    for path, times in ((one, 1), (copy, 1), (other, 2)):
        path.write_text(json.dumps([row] * times))
    names = [adapter_name(toy, tiny_base, Training(generic_path=path)) for path in (one, copy, other)]
    assert names[0] == names[1] != names[2]
