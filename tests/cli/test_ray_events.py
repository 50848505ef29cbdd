"""What a GPU host says of its job is believed only as far as it has the shape of an event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainer.ray_job import MARK
from trainer.storage import Damaged, Storage
from twin.cli.ray_launcher import _event_in
from twin.cli.ray_orders import fetch
from twin.progress import silent
from twin.settings import load_settings

GOOD: list[dict[str, Any]] = [
    {"event": "alive"},
    {"event": "done"},
    {"event": "error", "type": "ModelError", "what": "It does not fit.", "mend": ""},
    {"event": "progress", "done": 1, "total": None, "note": "fetching"},
]


@pytest.mark.parametrize("event", GOOD)
def test_an_event_is_read(event: dict[str, Any]) -> None:
    assert _event_in(MARK + json.dumps(event)) == event


@pytest.mark.parametrize(
    "line",
    [
        *('{"event": "done"', "5", "[]", "null", "{}", '{"event": ["done"]}', '{"event": "error"}', '{"event": "estimate"}', "[" * 100_000),
        *(json.dumps(GOOD[3] | {"done": "1"}), json.dumps(GOOD[2] | {"what": {}}), '{"event": "delete", "path": "/"}'),
    ],
)
def test_anything_else_is_a_line_for_the_log(line: str) -> None:
    assert _event_in(MARK + line) is None


@pytest.mark.parametrize("result", [{"digest": "../../precious"}, {"digest": 5}, {}, [], "text", 5])
def test_a_result_that_names_no_folder_is_refused_in_words(result: Any, tmp_path: Path) -> None:
    storage = Storage((tmp_path / "storage").as_uri())
    storage.write("result-1", result)
    order = {"out": str(tmp_path / "adapter")}
    with pytest.raises(Damaged):
        fetch(load_settings(None, data=tmp_path / "data"), storage, "train", order, "1", silent)


@pytest.mark.parametrize("result", [[], "text", 5, {"base": 5}])
def test_figures_that_are_none_are_refused_in_words(result: Any, tmp_path: Path) -> None:
    storage = Storage((tmp_path / "storage").as_uri())
    storage.write("result-1", result)
    with pytest.raises(Damaged):
        fetch(load_settings(None, data=tmp_path / "data"), storage, "evaluate", {}, "1", silent)
