"""The sealed folder: whose chats are in it, that it is the same every time, and that its numbers add up."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dataset_scene import WHEN, build, files_of, keep, settings_for
from factories import START, chat, exchanges, me, random_chat, them

from trainer.batches import to_rows
from trainer.dataset import build_dataset
from trainer.dataset_files import building
from trainer.dataset_pool import _Worker
from trainer.dataset_reader import load_tokenizer, read_examples, read_manifest
from trainer.examples import Example
from trainer.verdicts import SPLITS
from twin.errors import InputError, TwinError
from twin.renderer import Renderer
from twin.store import dialogs, messages, open_store


def every(path: Path) -> list[Example]:
    return [example for split in SPLITS for example in read_examples(path, split)]


def words(examples: list[Example]) -> str:
    return "\n".join(turn.content for example in examples for turn in example.turns)


# --- whose chats ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("consent", "excluded", "left_out"),
    [
        (("asked", "given"), False, None),
        ((), False, "consent: never asked"),
        (("asked",), False, "consent: asked"),
        (("given", "revoked"), False, "consent: revoked"),
        (("given", "revoked", "given"), False, None),
        (("given",), True, "excluded"),
    ],
)
async def test_a_chat_trains_only_with_consent_given_and_not_withdrawn(store, tmp_path, tiny_base, consent, excluded, left_out):
    await keep(store, exchanges(10, dialog_id=1))
    await keep(store, exchanges(10, dialog_id=2), consent=consent, excluded=excluded)
    report = await build(store, tmp_path, tiny_base)
    assert [(c.dialog_id, c.left_out) for c in report.contacts] == [(1, None), (2, left_out)]
    dialog_ids = {1} if left_out else {1, 2}
    assert {example.dialog_id for example in every(report.path)} == dialog_ids
    assert read_manifest(report.path)["dialog_ids"] == sorted(dialog_ids)


async def test_what_came_through_the_bot_is_not_in_it(store, tmp_path, tiny_base):
    mine = exchanges(10, dialog_id=1)
    await keep(store, [*mine, *chat(them("secret one"), me("secret two"), dialog_id=1, channel="bot", first_id=900)])
    report = await build(store, tmp_path, tiny_base)
    assert "secret" not in words(every(report.path))
    assert (report.contacts[0].messages, report.contacts[0].owner_messages) == (20, 10)


async def test_two_contacts_within_minutes_never_share_an_example(store, tmp_path, tiny_base):
    for dialog_id in (1, 2, 3):
        await keep(store, exchanges(30, dialog_id=dialog_id, start=START + timedelta(seconds=20 * dialog_id)))
    for example in every((await build(store, tmp_path, tiny_base)).path):
        assert {text.split()[1] for text in words([example]).splitlines() if text[0] in "qa"} == {str(example.dialog_id)}


async def test_a_deleted_message_is_in_no_example(store, tmp_path, tiny_base):
    await keep(store, exchanges(10, dialog_id=1))
    async with store.begin() as connection:
        await messages.mark_deleted(connection, "account", 1, [3, 4], WHEN)
    report = await build(store, tmp_path, tiny_base)
    assert "number 1" not in words(every(report.path))
    assert report.contacts[0].messages == 18


async def test_the_system_turn_names_owner_and_contact(store, tmp_path, tiny_base):
    await keep(store, exchanges(10, dialog_id=1))
    found = every((await build(store, tmp_path, tiny_base)).path)
    assert {example.turns[0].content for example in found} == {"You are Olga, chatting with Contact 1."}


@pytest.mark.parametrize("rows", [[], chat(them("hi")), chat(me("anybody?"))])
async def test_nothing_to_learn_from_is_said(store, tmp_path, tiny_base, rows):
    await keep(store, rows)
    with pytest.raises(InputError, match="nothing to learn from"):
        await build(store, tmp_path, tiny_base)
    assert list((tmp_path / "datasets").iterdir()) == []


# --- windows and numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_tokens", [128, 192, 512])
async def test_numbers_add_up_and_no_row_is_too_long(store, tmp_path, tiny_base, max_tokens):
    rows = [m for dialog_id in (1, 2, 3) for m in random_chat(dialog_id, dialog_id=dialog_id, length=150)]
    await keep(store, rows)
    await keep(store, exchanges(5, dialog_id=4), consent=())
    report = await build(store, tmp_path, tiny_base, max_tokens=max_tokens, anchor_fraction=0.2)
    owned = Counter(m.dialog_id for m in rows if m.out)
    assert {c.dialog_id: c.owner_messages for c in report.contacts} == {**owned, 4: 5}
    assert sum(report.verdicts.values()) == sum(owned.values())
    renderer = Renderer(load_tokenizer(tiny_base))
    for split in SPLITS:
        found = list(read_examples(report.path, split))
        made = to_rows(found, renderer)
        assert max(len(row.ids) for row in made) <= max_tokens
        assert (report.examples[split], report.targets[split]) == (len(found), sum(len(e.targets) for e in found))
        if split == "train":
            assert report.tokens == sum(len(row.ids) for row in made)
            assert report.supervised_tokens == sum(len(row.targets) for row in made)
            assert sum(report.histogram.values()) == len(found)
    assert sum(c.targets for c in report.contacts) == sum(report.targets.values())
    kept = json.loads((report.path / "report.json").read_text())
    assert kept["verdicts"] == report.verdicts
    assert kept.keys() == report.as_json().keys() - {"path", "reused"}


async def test_the_newest_of_each_chat_is_held_out(store, tmp_path, tiny_base):
    for dialog_id in (1, 2):
        await keep(store, exchanges(40, dialog_id=dialog_id, start=START + timedelta(days=400 * dialog_id)))
    report = await build(store, tmp_path, tiny_base)
    for dialog_id in (1, 2):
        numbers = {
            split: [
                int(e.turns[i].content.split()[-1])
                for e in read_examples(report.path, split)
                if e.dialog_id == dialog_id
                for i in e.targets
            ]
            for split in SPLITS
        }
        assert numbers == {"train": [*range(34)], "validation": [34, 35], "holdout": [36, 37, 38, 39], "anchor": []}
    assert not any(f"number {n}" in words(list(read_examples(report.path, "train"))) for n in range(36, 40))
    manifest = json.loads((report.path / "manifest.json").read_text())
    newest = {str(e.dialog_id): max(e.at) for e in read_examples(report.path, "train")}
    assert manifest["train_until"] == newest


# --- the same every time ----------------------------------------------------------------------------------------------

REBUILD = """
import asyncio, sys
from pathlib import Path
from dataset_scene import build
from twin.store import open_store

async def main():
    store = open_store(Path(sys.argv[1]) / "twin.sqlite")
    try:
        print((await build(store, Path(sys.argv[2]), Path(sys.argv[3]))).path)
    finally:
        await store.dispose()

asyncio.run(main())
"""


@pytest.mark.slow
async def test_a_second_build_is_byte_equal_whoever_makes_it(store, tmp_path, tiny_base):
    rows = [m for dialog_id in (3, 1, 2) for m in random_chat(dialog_id, dialog_id=dialog_id)]
    await keep(store, rows)
    first = await build(store, tmp_path / "a", tiny_base)
    again = await build(store, tmp_path / "a", tiny_base)
    assert (first.reused, again.reused) == (False, True)
    assert again.as_json() == first.as_json() | {"reused": True}
    (tmp_path / "other").mkdir()
    shuffled = open_store(tmp_path / "other" / "twin.sqlite")
    try:
        await keep(shuffled, random.Random(5).sample(rows, len(rows)))
    finally:
        await shuffled.dispose()
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", textwrap.dedent(REBUILD), tmp_path / "other", tmp_path / "b", tiny_base]
    child = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    elsewhere = Path(child.stdout.strip())
    assert elsewhere.name == first.hash
    assert files_of(elsewhere) == files_of(first.path)


@pytest.mark.slow
async def test_any_number_of_processes_makes_the_same_bytes(store, tmp_path, tiny_base):
    """Everybody says the same few things, so that what the cap leaves out in one chat depends on all the chats before it."""
    said = [part for i in range(40) for part in (them(f"q{i}?", after=90), me(("ok", "yes", "no way")[i % 3]))]
    for dialog_id in range(12, 0, -1):
        await keep(store, [*random_chat(dialog_id, dialog_id=dialog_id), *chat(*said[: 12 * dialog_id], dialog_id=dialog_id, first_id=500)])
    here = await build(store, tmp_path / "1", tiny_base, processes=1, repeat_cap=20, anchor_fraction=0.2)
    told: list[tuple[float, float | None]] = []
    settings = settings_for(tmp_path, repeat_cap=20, anchor_fraction=0.2)
    for processes in (2, 3):
        out = tmp_path / str(processes)
        apart = await build_dataset(store, settings, tiny_base, out, lambda d, t, note="": told.append((d, t)), processes=processes)
        assert apart.as_json() == here.as_json() | {"path": str(apart.path)}
        assert files_of(apart.path) == files_of(here.path)
    assert told == [(i, 12) for i in range(1, 13)] * 2
    assert here.verdicts["repeated"] > 100
    assert here.verdicts["anchor"] > 0


async def test_a_process_that_dies_fails_the_build_and_leaves_nothing(store, tmp_path, tiny_base, monkeypatch):
    for dialog_id in range(6):
        await keep(store, exchanges(10, dialog_id=dialog_id + 1))
    ask = _Worker.ask

    def killed_at_work(worker: _Worker, step: str, *arguments: Any) -> Any:
        if step == "cut":
            worker.kill()
        return ask(worker, step, *arguments)

    monkeypatch.setattr(_Worker, "ask", killed_at_work)
    with pytest.raises(TwinError, match="ended before it was done"):
        await build(store, tmp_path, tiny_base, processes=2)
    assert list((tmp_path / "datasets").iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.endswith("(_serve)")]


async def test_two_builds_at_once_leave_each_other_alone(store, tmp_path, tiny_base):
    await keep(store, exchanges(20, dialog_id=1))
    with building(tmp_path / "datasets"):
        report = await build(store, tmp_path, tiny_base)
        assert len(list((tmp_path / "datasets").iterdir())) == 2
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == [report.hash]


async def test_other_rules_or_words_give_another_name(store, tmp_path, tiny_base):
    await keep(store, exchanges(20, dialog_id=1))
    names = {(await build(store, tmp_path, tiny_base)).hash, (await build(store, tmp_path, tiny_base, max_tokens=128)).hash}
    async with store.begin() as connection:
        await messages.edit(connection, "account", 1, 2, "something else", WHEN)
    names.add((await build(store, tmp_path, tiny_base)).hash)
    assert len(names) == 3


async def test_what_happens_in_chats_that_are_out_changes_nothing(store, tmp_path, tiny_base):
    await keep(store, exchanges(20, dialog_id=1))
    first = await build(store, tmp_path, tiny_base)
    await keep(store, exchanges(20, dialog_id=2), consent=("revoked",))
    assert (await build(store, tmp_path, tiny_base)).reused
    async with store.begin() as connection:
        await dialogs.record_consent(connection, 2, "given", WHEN, "ok")
    assert (await build(store, tmp_path, tiny_base)).hash != first.hash


# --- the seal ---------------------------------------------------------------------------------------------------------


async def test_characters_that_look_like_line_ends_survive(store, tmp_path, tiny_base):
    odd = "one\u2028two\u2029three\x0bfour\x85five\x1csix"
    await keep(store, [*exchanges(10, dialog_id=1), *chat(them("q"), me(odd), dialog_id=1, first_id=500)])
    assert odd in words(every((await build(store, tmp_path, tiny_base)).path))


async def test_only_a_whole_unchanged_folder_is_read(store, tmp_path, tiny_base):
    await keep(store, exchanges(20, dialog_id=1))
    path = (await build(store, tmp_path, tiny_base)).path
    train = path / "train.jsonl"
    good = train.read_bytes()
    train.write_bytes(good.replace(b"question", b"quotation"))
    with pytest.raises(InputError, match="changed after it was sealed"):
        list(read_examples(path, "train"))
    train.unlink()
    with pytest.raises(InputError, match="changed after it was sealed"):
        list(read_examples(path, "train"))
    for content in ("", "[]", '{"name": "an adapter", "base": {}}'):
        (path / "manifest.json").write_text(content)
        with pytest.raises(InputError, match=r"not a (complete )?dataset"):
            list(read_examples(path, "holdout"))
    (path / "manifest.json").unlink()
    with pytest.raises(InputError, match="not a complete dataset"):
        read_manifest(path)


async def test_what_a_crash_left_is_built_again(store, tmp_path, tiny_base):
    await keep(store, exchanges(20, dialog_id=1))
    first = await build(store, tmp_path, tiny_base)
    before = files_of(first.path)
    (first.path / "manifest.json").unlink()
    (first.path / "train.jsonl").write_text("half a li")
    (tmp_path / "datasets" / f"{first.hash}.building").mkdir()
    again = await build(store, tmp_path, tiny_base)
    assert (again.reused, files_of(again.path)) == (False, before)
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == [first.hash]


async def test_only_the_owner_of_the_machine_can_read_it(store, tmp_path, tiny_base):
    await keep(store, exchanges(20, dialog_id=1))
    assert (await build(store, tmp_path, tiny_base)).path.stat().st_mode & 0o077 == 0
