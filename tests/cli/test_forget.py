"""A forgotten contact is nowhere, and what cannot forget is named."""

from __future__ import annotations

import json
from pathlib import Path

from cli_scene import keep_adapter, keep_contact, on_store, twin

from twin.cli.folder import DATASET
from twin.store import dialogs, facts, messages


def seal(data: Path, name: str, dialog_ids: list[int]) -> Path:
    folder = data / "datasets" / name
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text("{}\n")
    (folder / "manifest.json").write_text(json.dumps({"dialog_ids": dialog_ids}))
    return folder


def test_a_contact_is_erased_from_the_store_and_from_every_dataset(data: Path) -> None:
    keep_contact(data, 11, "Ada Berg", consent=True)
    keep_contact(data, 12, "Ben Cole", consent=True)
    mine, others, unsealed = seal(data, "one", [11, 12]), seal(data, "two", [12]), data / "datasets" / "three.building"
    unsealed.mkdir()
    keep_adapter(data, "old", dialog_ids=[11])
    keep_adapter(data, "new", dialog_ids=[12])
    on_store(data, lambda connection: facts.put(connection, DATASET, "one"))

    ran = twin("forget", "@ada", "--yes", "--data", data, "--json")

    assert ran.document == {"dialog_id": 11, "messages": 6, "datasets": ["one", "three.building"], "adapters": ["old"]}
    assert (mine.exists(), others.exists(), unsealed.exists()) == (False, True, False)
    assert on_store(data, lambda connection: messages.history(connection, 11)) == []
    assert len(on_store(data, lambda connection: messages.history(connection, 12))) == 6
    gone = on_store(data, lambda connection: dialogs.get(connection, 11))
    assert (gone.name, gone.excluded, gone.consent) == ("", True, None)
    assert on_store(data, lambda connection: facts.get(connection, DATASET)) is None


def test_it_is_confirmed(data: Path) -> None:
    keep_contact(data, 11, "Ada Berg")
    assert twin("forget", "11", "--data", data).code == 2
    assert len(on_store(data, lambda connection: messages.history(connection, 11))) == 6


def test_twice_is_told(data: Path) -> None:
    keep_contact(data, 11, "Ada Berg")
    assert twin("forget", "11", "--yes", "--data", data).code == 0
    again = twin("forget", "11", "--yes", "--data", data)
    assert again.code == 1
    assert "forgotten already" in again.err
    assert "forgotten" in twin("contacts", "--data", data).out


def test_a_stranger_is_named(data: Path) -> None:
    ran = twin("forget", "nobody", "--yes", "--data", data, "--json")
    assert ran.code == 1
    assert "twin contacts" in ran.document["mend"]
