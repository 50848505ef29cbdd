"""A run that goes on from an adapter learns what is new, repeats some of the old, and leaves the adapter as it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dataset_scene import files_of, toy_dataset

from trainer.dataset import load_tokenizer, read_examples, read_manifest
from trainer.examples import Example
from trainer.instructions import training_rows
from trainer.lineage import learned_until, read_parent
from trainer.lora import load_model
from trainer.mixture import mix
from trainer.train import adapter_name, train
from twin.errors import ModelError, NothingNew
from twin.settings import Training
from twin.turns import Renderer, Turn

FAST = Training(r=8, alpha=16, learning_rate=2e-2, batch_tokens=256, epochs=1)


@pytest.fixture(scope="module")
def parent(toy: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(toy, tiny_base, tmp_path_factory.mktemp("adapters") / "first", FAST)


@pytest.fixture(scope="module")
def later(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy dataset after more was written, and with a contact more."""
    return toy_dataset(tmp_path_factory.mktemp("later"), tiny_base, dialogs=(1, 2, 3), questions=60)


@pytest.fixture(scope="module")
def child(later: Path, tiny_base: Path, parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(later, tiny_base, tmp_path_factory.mktemp("adapters") / "second", FAST, parent=parent)


def manifest_of(adapter: Path) -> dict[str, Any]:
    return dict(json.loads((adapter / "manifest.json").read_text()))


def test_the_manifest_says_where_it_comes_from_and_what_it_knows(child, parent, toy, later):
    first, second = manifest_of(parent), manifest_of(child)
    assert (first["kind"], first["parent"]) == ("full", None)
    assert (second["kind"], second["parent"]) == ("incremental", "first")
    assert first["learned_until"] == read_manifest(toy)["train_until"]
    assert second["learned_until"] == read_manifest(later)["train_until"]
    assert second["dialog_ids"] == [1, 2, 3]
    known = first["learned_until"]
    fresh = sum(at > known.get(str(e.dialog_id), -1) for e in read_examples(later, "train") for at in e.at)
    assert second["mixture"]["new_targets"] == fresh > 0
    assert 0.5 < second["mixture"]["replay_tokens"] / second["mixture"]["new_tokens"] < 1.3
    assert second["mixture"]["generic_tokens"] > 0


def test_the_parent_is_only_read(parent, later, tiny_base, tmp_path):
    before = files_of(parent)
    train(later, tiny_base, tmp_path / "child", FAST, parent=parent)
    assert files_of(parent) == before


def test_it_starts_with_the_parents_very_weights(parent, tiny_base):
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    model = load_model(tiny_base, FAST)
    read_parent(parent, tiny_base, FAST).put_into(model)
    kept = load_file(parent / "adapter_model.safetensors")
    put = get_peft_model_state_dict(model, save_embedding_layers=False)  # "auto" would ask the hub
    assert put.keys() == kept.keys()
    assert all((put[name] == kept[name]).all() for name in kept)


def test_who_knows_it_all_is_told_so(parent, toy, tiny_base, tmp_path):
    with pytest.raises(NothingNew, match="Nothing new"):
        train(toy, tiny_base, tmp_path / "again", FAST, parent=parent)
    assert not (tmp_path / "again").exists()


class Killed(BaseException):
    """Stands for a kill: nothing in the product catches it."""


def test_a_killed_run_goes_on_to_the_same_weights(parent, later, tiny_base, child, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.train.CHECKPOINT_SECONDS", 0.0)

    def kill(done: float, total: float | None, note: str = "") -> None:
        if done > 0.4:
            raise Killed

    out = tmp_path / "second"
    with pytest.raises(Killed):
        train(later, tiny_base, out, FAST, kill, parent=parent)
    assert not out.exists()
    train(later, tiny_base, out, FAST, parent=parent)
    assert (out / "adapter_model.safetensors").read_bytes() == (child / "adapter_model.safetensors").read_bytes()


def test_the_name_says_which_parent(toy, tiny_base, parent):
    names = {adapter_name(toy, tiny_base, FAST, origin) for origin in (None, parent, Path("other"))}
    assert len(names) == 3


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda m: m.pop("learned_until"), "too old to go on from"),
        (lambda m: m["base"].update(name="another/model"), "another base model"),
    ],
)
def test_a_parent_that_does_not_fit_is_refused(parent, tiny_base, tmp_path, spoil, why):
    folder = tmp_path / "parent"
    folder.mkdir()
    for name, content in files_of(parent).items():
        (folder / name).write_bytes(content)
    manifest = manifest_of(parent)
    spoil(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=why) as refusal:
        read_parent(folder, tiny_base, FAST)
    assert "--full" in refusal.value.mend


def test_another_rank_needs_a_full_run(parent, tiny_base):
    with pytest.raises(ModelError, match="r=8"):
        read_parent(parent, tiny_base, FAST.model_copy(update={"r": 4}))


def test_what_the_parent_knew_of_a_chat_that_is_gone_is_kept():
    from trainer.lineage import Parent

    parent = Parent("p", Path("p"), (1, 2), {"1": 10, "2": 50})
    assert learned_until({"1": 30, "3": 5}, parent) == {"1": 30, "2": 50, "3": 5}


# --- the mixture ------------------------------------------------------------------------------------------------------


class CountingRenderer:
    """Counts what is rendered: the costly part."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer, self.rows = renderer, 0

    def row(self, turns: Any) -> Any:
        self.rows += 1
        return self.renderer.row(turns)


@pytest.fixture(scope="module")
def renderer(tiny_base: Path) -> Renderer:
    return Renderer(load_tokenizer(tiny_base))


def window(dialog_id: int, *at: int) -> Example:
    turns = [Turn("system", "You are Olga.")]
    for moment in at:
        turns += [Turn("user", f"question {moment}?"), Turn("assistant", f"answer {moment}")]
    return Example(dialog_id, "train", tuple(turns), tuple(range(2, 2 * len(at) + 1, 2)), at)


def test_only_new_replies_of_a_window_are_learned_as_new(renderer):
    found = mix([window(1, 10, 20, 30)], [], renderer, FAST, {"1": 20})
    (row,) = found.rows
    learned = renderer.tokenizer.decode([row.ids[i] for i in row.targets])
    assert "answer 30" in learned
    assert "answer 20" not in learned
    assert found.new_targets == 1


def test_a_long_history_costs_no_more_than_a_short_one(renderer):
    counts = []
    for old in (200, 5_000):
        counting = CountingRenderer(renderer)
        history = [window(1, i) for i in range(old)]
        mix([*history, *(window(1, 10_000 + i) for i in range(20))], training_rows(None), counting, FAST, {"1": 9_999})  # type: ignore[arg-type]
        counts.append(counting.rows)
    assert counts[1] <= counts[0] * 1.2


def test_the_old_that_is_repeated_is_spread_over_the_history_and_the_same_each_time(renderer):
    history = [window(1, i) for i in range(1_000)]
    new = [window(1, 5_000 + i) for i in range(100)]
    one, two = (mix([*history, *new], [], renderer, FAST, {"1": 4_999}) for _ in range(2))
    assert one == two
    texts = [renderer.tokenizer.decode(row.ids) for row in one.rows]
    moments = sorted(
        int(text.split("question ")[1].split("?")[0]) for text in texts if "question 5" not in text or "question 50" not in text
    )
    old = [moment for moment in moments if moment < 1_000]
    assert min(old) < 150
    assert max(old) > 850
    assert abs(sum(old) / len(old) - 500) < 120


def test_no_share_of_generic_rows_means_none(renderer):
    plain = replace(mix([window(1, 1)], [], renderer, FAST.model_copy(update={"generic": 0.0})))
    assert plain.generic_tokens == 0
