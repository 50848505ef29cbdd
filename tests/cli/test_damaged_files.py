"""A file of the data folder or of a base model that is damaged is named, with the mend; what can be made again is made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_scene import keep_adapter, keep_contact, twin

from inference.prompting import stop_token_ids
from inference.serve import _model_len
from trainer.base_model import _require_template
from trainer.hearing import _recall
from twin.base_folder import base_name
from twin.errors import InputError, ModelError
from twin.reading import read_object
from twin.settings import load_settings

DAMAGED = {
    "cut off": b'{"base": {"na',
    "Latin-1": '{"base": "Zo\xeb"}'.encode("latin-1"),
    "empty": b"",
    "a list": b"[1, 2]",
    "zeroes": b"\0" * 100,
    "deep": b"[" * 100_000,
    "of something else": b'{"name": 5}',
}
UNREADABLE = {name: content for name, content in DAMAGED.items() if name != "of something else"}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_adapter_is_named_and_never_unexpected(content: bytes, data: Path) -> None:
    folder = keep_adapter(data, "tiny-1")
    other = keep_adapter(data, "tiny-2")
    assert twin("adapters", "promote", "tiny-2", "--data", data).code == 0
    for damaged in (folder, other):
        (damaged / "manifest.json").write_bytes(content)
    ran = twin("adapters", "promote", "tiny-1", "--data", data)
    assert (ran.code, f"{folder} is not a complete adapter" in ran.err, "Unexpected" in ran.err) == (1, True, False)
    checks = {check["part"]: check for check in twin("doctor", "--json", "--data", data).document["checks"]}
    assert checks["adapter"]["colour"] == "red"


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("name", ["manifest.json", "report.json"])
def test_a_damaged_dataset_goes_with_the_contact(name: str, content: bytes, data: Path) -> None:
    keep_contact(data, 7, "Ada")
    folder = data / "datasets" / "d1"
    folder.mkdir(parents=True)
    for part, sound in (("manifest.json", {"dialog_ids": [8]}), ("report.json", {"contacts": []})):
        (folder / part).write_bytes(content if part == name else json.dumps(sound).encode())
    ran = twin("forget", "7", "--yes", "--data", data)
    assert (ran.code, "Unexpected" in ran.err, folder.exists()) == (0, False, False)


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_damaged_base_model_is_named(content: bytes, tmp_path: Path) -> None:
    for name, read in (
        ("manifest.json", base_name),
        ("config.json", lambda folder: _model_len(load_settings(None), folder)),
        ("tokenizer_config.json", _require_template),
        ("generation_config.json", lambda folder: stop_token_ids(folder, None)),  # type: ignore[arg-type]
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=f"{name} is damaged") as caught:
            read(tmp_path)
        assert caught.value.mend


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json cannot be read \(No such file"):
        read_object(tmp_path / "config.json", mend="Make it.")


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_damaged_answer_that_was_kept_is_made_again(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_bytes(content)
    assert _recall(tmp_path / "kept.json") is None


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_dataset_ends_an_evaluation_with_a_sentence(content: bytes, data: Path) -> None:
    from cli_scene import on_store

    from twin.store import facts

    folder = data / "datasets" / "d1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(content)
    on_store(data, lambda connection: facts.put(connection, "dataset", "d1"))
    for command in ("train", "evaluate"):
        ran = twin(command, "--data", data)
        assert (ran.code, str(folder) in ran.err, "Unexpected" in ran.err) == (1, True, False)
