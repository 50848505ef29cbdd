"""A run that goes on from an adapter learns what is new, repeats some of the old, and leaves the adapter as it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from dataset_scene import files_of, toy_dataset

import trainer.train
from trainer.dataset_reader import load_tokenizer, read_examples, read_manifest
from trainer.lineage import Parent, learned_until, read_parent
from trainer.lora import load_model
from trainer.train import adapter_name, train
from trainer.train_main import main
from twin.errors import InputError, ModelError, NothingNew
from twin.renderer import Renderer
from twin.settings import Training

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


def copy_of(folder: Path, to: Path, **changes: Any) -> Path:
    """The same files with another manifest; None: without that key."""
    to.mkdir()
    for name, content in files_of(folder).items():
        (to / name).write_bytes(content)
    manifest = manifest_of(folder) | changes
    (to / "manifest.json").write_text(json.dumps({key: value for key, value in manifest.items() if value is not None}))
    return to


def manifest_of(adapter: Path) -> dict[str, Any]:
    return dict(json.loads((adapter / "manifest.json").read_text()))


def test_the_manifest_says_where_it_comes_from_and_what_it_knows(child, parent, toy, later, tiny_base):
    first, second = manifest_of(parent), manifest_of(child)
    assert (first["kind"], first["parent"]) == ("full", None)
    assert (second["kind"], second["parent"]) == ("incremental", "first")
    assert first["rendering"] == second["rendering"] == read_manifest(toy)["rendering"] == Renderer(load_tokenizer(tiny_base)).rendering
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


def test_its_learning_rate_is_lower(parent, later, tiny_base, tmp_path, monkeypatch):
    rates: list[float] = []
    step = trainer.train.train_step
    monkeypatch.setattr("trainer.train.train_step", lambda *a: rates.append(a[3]) or step(*a))
    train(later, tiny_base, tmp_path / "child", FAST, parent=parent)
    assert 0.8 * 0.3 * FAST.learning_rate < max(rates) <= 0.3 * FAST.learning_rate


def test_the_note_says_what_is_learned_from(parent, later, tiny_base, tmp_path):
    notes: list[str] = []
    train(later, tiny_base, tmp_path / "child", FAST, lambda done, total, note: notes.append(note), parent=parent)
    assert re.fullmatch(r"loss .* tokens/s · .* left · \d+ % new, \d+ % repeated, \d+ % general", notes[0])


def test_the_command_takes_a_parent_and_says_when_nothing_is_new(parent, toy, tiny_base, tmp_path, capsys):
    assert (
        main(
            [
                "--dataset",
                str(toy),
                "--base",
                str(tiny_base),
                "--out",
                str(tmp_path / "a"),
                "--parent",
                str(parent),
                "--recipe",
                FAST.model_dump_json(),
            ]
        )
        == 1
    )
    (told,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (told["event"], told["type"]) == ("error", "NothingNew")


def test_the_name_says_which_parent(toy, tiny_base, parent):
    names = {adapter_name(toy, tiny_base, FAST, origin) for origin in (None, parent, Path("other"))}
    assert len(names) == 3


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda m: m.pop("learned_until"), "too old to go on from"),
        (lambda m: m["base"].update(name="another/model"), "another base model"),
        (lambda m: m["base"].update(tokenizer="0"), "another base model"),
        (lambda m: m["files"].update({"adapter_model.safetensors": "0"}), "were changed"),
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


def test_a_parent_whose_rows_were_written_in_another_way_is_refused(parent, later, tiny_base, tmp_path):
    folder = copy_of(parent, tmp_path / "parent", rendering={"fingerprint": "of before", "switched": False})
    with pytest.raises(
        ModelError, match="parent was trained before an upgrade that writes chats for this base model in another way"
    ) as refusal:
        train(later, tiny_base, tmp_path / "child", FAST, parent=folder)
    assert "twin train --full" in refusal.value.mend
    assert not (tmp_path / "child").exists()


def test_a_parent_of_before_there_were_fingerprints_is_refused_where_the_template_is_switched_alone(parent, tiny_base, tmp_path):
    old = read_parent(copy_of(parent, tmp_path / "parent", rendering=None), tiny_base, FAST)
    old.require_rendering({"fingerprint": "of now", "switched": False})
    with pytest.raises(ModelError, match="in another way"):
        old.require_rendering({"fingerprint": "of now", "switched": True})


def test_a_dataset_that_was_counted_in_another_way_is_refused(toy, tiny_base, tmp_path):
    stale = copy_of(toy, tmp_path / "stale", rendering={"fingerprint": "of before", "switched": False})
    with pytest.raises(InputError, match="another rendering of chats") as refusal:
        train(stale, tiny_base, tmp_path / "adapter", FAST)
    assert "twin dataset" in refusal.value.mend


def test_a_parent_without_a_manifest_is_refused(parent, later, tiny_base, tmp_path):
    with pytest.raises(ModelError, match="not complete"):
        train(later, tiny_base, tmp_path / "child", FAST, parent=tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_parent_with_other_layers_is_refused(parent, tiny_base, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "parent"
    folder.mkdir()
    kept = load_file(parent / "adapter_model.safetensors")
    save_file({name: weight for name, weight in kept.items() if "q_proj" not in name}, folder / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="other layers") as refusal:
        Parent("parent", folder, (1, 2), {}).put_into(load_model(tiny_base, FAST))
    assert "--full" in refusal.value.mend


def test_another_rank_needs_a_full_run(parent, tiny_base):
    with pytest.raises(ModelError, match="r=8"):
        read_parent(parent, tiny_base, FAST.model_copy(update={"r": 4}))


def test_what_the_parent_knew_of_a_chat_that_is_gone_is_kept():
    parent = Parent("p", Path("p"), (1, 2), {"1": 10, "2": 50})
    assert learned_until({"1": 30, "3": 5}, parent) == {"1": 30, "2": 50, "3": 5}
