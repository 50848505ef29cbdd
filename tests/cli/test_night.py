"""One night in all its branches: from which adapter it goes on, and what becomes of what it trained.

The store, the gate, the run's row and its folder are real; a fake does what takes minutes, and notes that it did.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_scene import on_store
from gate_figures import OWNER, figures

from trainer.collect import CollectReport
from trainer.dataset import DatasetReport
from twin.cli import launchers, night, stages
from twin.cli.folder import open_folder, training
from twin.cli.terminal import Screen
from twin.errors import EngineError, NothingNew
from twin.renderer import Rendering
from twin.settings import Settings
from twin.store import adapters, runs
from twin.store.adapters import Adapter

AT = datetime(2026, 1, 2, tzinfo=UTC)
FIRST = ["check", "collect", "prepare", "build", "pause", "train"]
TESTED = [*FIRST, "evaluate", "resume"]
BETTER, WORSE, LIVE = figures(-0.05), figures(0.05), figures()
ALWAYS_ASKED = {"loss", "anchor_loss", "familiar", "context_choice", "distinct", "generic_loss", "verbatim"}


@dataclass
class Night:
    """A data folder, and what the stages of its next night find. `done` has what was done, in order."""

    data: Path
    settings: Settings
    dialog_ids: Sequence[int] = (1, 2)
    rendering: Rendering | None = None  # of the dataset, as of today
    trained: Adapter | Exception | None = None  # what a training gives; None: a new adapter, "new"
    measured: dict[str, Any] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    parents: list[str | None] = field(default_factory=list)
    tested: list[tuple[list[str], int]] = field(default_factory=list)

    def play(self, order: night.Order = night.Order()) -> dict[str, Any]:  # noqa: B008 - frozen
        with training(self.settings, "nightly") as run:
            return night.play(self.settings, Screen(as_json=True), run, order)

    def kind(self, *, full: bool = False) -> tuple[str, str]:
        return night.kind_of(self.settings, self.active(), self.dataset(), full=full)

    def active(self) -> Adapter | None:
        found: Adapter | None = on_store(self.data, adapters.active)
        return found

    def states(self) -> dict[str, str]:
        return {adapter.name: adapter.state for adapter in on_store(self.data, adapters.find)}

    def row(self) -> Any:
        return on_store(self.data, runs.newest)

    def sealed(self) -> dict[str, str]:
        """The files of the newest run's folder."""
        folder = self.data / "runs" / self.row().run_id
        return (
            {path.name: path.read_text("utf-8") if path.suffix == ".json" else "" for path in folder.iterdir()} if folder.exists() else {}
        )

    def dataset(self) -> Path:
        folder = self.data / "datasets" / "d1"
        folder.mkdir(parents=True, exist_ok=True)
        manifest: dict[str, Any] = {"files": {}, "rules": {}, "tokenizer": "", "train_until": {}, "dialog_ids": list(self.dialog_ids)}
        manifest |= {"rendering": self.rendering} if self.rendering else {}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    def adapter(self, name: str, *, active: bool = False, parent: str | None = None, **more: Any) -> Adapter:
        """Seal and register one that learned from the chats 1 and 2."""
        folder = self.data / "adapters" / name
        folder.mkdir(parents=True)
        recipe = {"r": self.settings.training.r, "alpha": self.settings.training.alpha}
        manifest = {
            "base": {"name": "tiny"},
            "parent": parent,
            "dataset": "d1",
            "dialog_ids": [1, 2],
            "recipe": recipe,
            "learned_until": {},
        }
        manifest |= {"mixture": {"new_targets": 7}, "curve": {"train": [[1, 3.0]], "validation": []}, "metrics": {"seconds": 1.5}, **more}
        (folder / "manifest.json").write_text(json.dumps({key: value for key, value in manifest.items() if value != "left out"}))
        found = stages.register(self.settings, folder)
        if active:
            on_store(self.data, lambda connection: adapters.promote(connection, name, AT))
        return found

    def night_before(self, kind: str, *, adapter: str | None = "a", hours: int = 0) -> None:
        """A row of a night that ended well."""
        at, run_id = AT + timedelta(hours=hours), f"before-{hours}"
        on_store(self.data, lambda connection: runs.begin(connection, run_id, "nightly", at))
        detail = {"kind": kind, "adapter": adapter}
        on_store(self.data, lambda connection: runs.end(connection, run_id, "done", at, detail=detail))


@pytest.fixture
def make(data: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Night]:
    """A night, its settings given as TWIN_* without the prefix."""

    def make_night(**settings: str) -> Night:
        for name, value in settings.items():
            monkeypatch.setenv(f"TWIN_{name}", value)
        made = Night(data, open_folder(data))
        fake_stages(made, monkeypatch)
        return made

    return make_night


def fake_stages(made: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    def collect(*_: Any) -> CollectReport:
        made.done.append("collect")
        return CollectReport(2, 0, 0, 12, 0, 0, {}, {1: 12}, False, None)

    def prepare(*_: Any) -> Path:
        made.done.append("prepare")
        return made.data / "base"

    def build(_: Settings, base: Path, progress: Any) -> DatasetReport:
        made.done.append("build")
        progress(1, 2, "half of it")
        return DatasetReport(made.dataset(), "d1", False, {}, {}, 0, 0, {}, (), {})

    def train(_: Settings, dataset: Path, base: Path, parent: Adapter | None, *, on_event: Any) -> Adapter:
        made.done.append("train")
        made.parents.append(parent.name if parent else None)
        if isinstance(made.trained, Exception):
            raise made.trained
        return made.trained or made.adapter("new", parent=parent.name if parent else None)

    def evaluate(_: Settings, dataset: Path, base: Path, tested: Sequence[Adapter], progress: Any, *, items: int) -> dict[str, Any]:
        made.done.append("evaluate")
        made.tested.append(([adapter.name for adapter in tested], items))
        found = {"base": figures(0.5, anchor=0.5), "owner": dict(OWNER)} | made.measured
        for name in ("base", *(adapter.name for adapter in tested)):
            answers = [{"message": f"m{i}", "owner": f"o{i}", "answer": f"{name} {i}"} for i in range(25)]
            found[name] = found[name] | {"answers": answers}
        return found

    def promote(settings: Settings, base: Path, adapter: Adapter) -> None:
        made.done.append("promote")
        on_store(made.data, lambda connection: adapters.promote(connection, adapter.name, AT + timedelta(days=1)))

    @contextmanager
    def paused(*_: Any) -> Iterator[None]:
        made.done.append("pause")
        try:
            yield
        finally:
            made.done.append("resume")

    monkeypatch.setattr(launchers, "check", lambda *_: made.done.append("check"))
    monkeypatch.setattr("inference.pause.paused", paused)
    for name, fake in (("collect", collect), ("prepare_base_apart", prepare), ("build", build), ("train", train)):
        monkeypatch.setattr(stages, name, fake)
    monkeypatch.setattr(stages, "evaluate", evaluate)
    monkeypatch.setattr(stages, "promote", promote)


# --- from which adapter it goes on ------------------------------------------------------------------------------------


def test_a_night_goes_on_from_the_active_adapter(make: Callable[..., Night]) -> None:
    scene = make()
    scene.adapter("a", active=True)
    assert scene.kind() == ("incremental", "Going on from a.")


def test_it_begins_with_the_base_model_when_asked(make: Callable[..., Night]) -> None:
    scene = make()
    scene.adapter("a", active=True)
    assert scene.kind(full=True) == ("full", "From the base model, as asked.")


def test_it_begins_with_the_base_model_while_no_adapter_is_active(make: Callable[..., Night]) -> None:
    scene = make()
    scene.adapter("a")
    kind, why = scene.kind()
    assert kind == "full"
    assert "No adapter is active" in why


def test_it_begins_with_the_base_model_where_the_settings_say_so(make: Callable[..., Night]) -> None:
    scene = make(SCHEDULE__KIND="full")
    scene.adapter("a", active=True)
    kind, why = scene.kind()
    assert kind == "full"
    assert "TWIN_SCHEDULE__KIND" in why


@pytest.mark.parametrize(
    ("manifest", "settings", "said"),
    [
        ({"learned_until": "left out"}, {}, "does not say what it has learned"),
        ({}, {"TRAINING__R": "8"}, "another LoRA rank or alpha"),
        ({}, {"TRAINING__ALPHA": "1000"}, "another LoRA rank or alpha"),
        ({"dialog_ids": [1, 2, 3, 4]}, {}, "2 chats that a learned from may no longer be used"),
    ],
)
def test_it_begins_with_the_base_model_when_the_active_adapter_cannot_be_gone_on_from(
    make: Callable[..., Night], monkeypatch: pytest.MonkeyPatch, manifest: dict[str, Any], settings: dict[str, str], said: str
) -> None:
    make().adapter("a", active=True, **manifest)
    kind, why = make(**settings).kind()
    assert kind == "full"
    assert said in why


@pytest.mark.parametrize(
    ("kept", "switched", "kind"),
    [("of now", True, "incremental"), ("of before", False, "full"), ("left out", True, "full"), ("left out", False, "incremental")],
)
def test_it_begins_with_the_base_model_when_the_active_adapter_learned_rows_of_another_rendering(
    make: Callable[..., Night], kept: str, switched: bool, kind: str
) -> None:
    scene = make()
    scene.adapter("a", active=True, rendering=kept if kept == "left out" else Rendering(fingerprint=kept, switched=switched))
    scene.rendering = Rendering(fingerprint="of now", switched=switched)
    found, why = scene.kind()
    assert found == kind
    assert (
        why
        == {
            "full": "a was trained before an upgrade that writes chats for this base model in another way: from the base model.",
            "incremental": "Going on from a.",
        }[kind]
    )


def test_a_chat_that_came_since_is_no_reason_to_begin_anew(make: Callable[..., Night]) -> None:
    scene = make()
    scene.adapter("a", active=True)
    scene.dialog_ids = (1, 2, 3)
    assert scene.kind()[0] == "incremental"


@pytest.mark.parametrize(("every", "kind"), [("0", "incremental"), ("1", "full"), ("2", "full"), ("3", "incremental")])
def test_every_so_many_nights_one_begins_with_the_base_model(make: Callable[..., Night], every: str, kind: str) -> None:
    scene = make(SCHEDULE__FULL_EVERY=every)
    scene.adapter("a", active=True)
    for hours, before in enumerate(("incremental", "full", "incremental", "incremental")):
        scene.night_before(before, hours=hours)
    scene.night_before("incremental", adapter=None, hours=9)  # it found nothing to learn
    assert scene.kind()[0] == kind


# --- what becomes of it -----------------------------------------------------------------------------------------------


def check_told(scene: Night, document: dict[str, Any], outcome: str) -> None:
    """The row and the sealed folder say what the night returned."""
    assert (document["outcome"], document["promoted"]) == (outcome, outcome == "promoted")
    assert json.loads(scene.sealed()["manifest.json"]) == json.loads(json.dumps(document))
    row = scene.row()
    assert row.state == "done"
    assert row.detail == {key: document.get(key) for key in ("kind", "outcome", "line", "adapter", "parent", "new_messages", "dataset")}
    assert (document["run_id"], document["dataset"], document["new_messages"]) == (row.run_id, "d1", 12)


def test_one_that_passes_the_gate_goes_live(make: Callable[..., Night]) -> None:
    scene = make()
    scene.adapter("a", active=True)
    scene.measured = {"a": LIVE, "new": BETTER}
    document = scene.play(night.Order("owner", items=33))
    check_told(scene, document, "promoted")
    assert scene.done == [*TESTED, "promote"]
    assert scene.parents == ["a"]
    assert scene.tested == [(["a", "new"], 33)]
    assert scene.states() == {"a": "retired", "new": "active"}
    assert (document["kind"], document["parent"], document["adapter"], document["trigger"]) == ("incremental", "a", "new", "owner")
    assert document["gate"]["passed"]
    assert {check["name"] for check in document["gate"]["checks"]} > ALWAYS_ASKED
    assert document["line"] == document["gate"]["line"]
    assert [stage["name"] for stage in document["stages"]] == ["collect", "prepare", "dataset", "train", "evaluate", "promote"]


@pytest.mark.parametrize("auto_promote", ["true", "false"])
def test_one_that_does_not_pass_stays_out(make: Callable[..., Night], auto_promote: str) -> None:
    scene = make(SCHEDULE__AUTO_PROMOTE=auto_promote)
    scene.adapter("a", active=True)
    scene.measured = {"a": LIVE, "new": WORSE}
    document = scene.play()
    check_told(scene, document, "refused")
    assert scene.done == TESTED, "the owner is not asked about it"
    assert scene.states() == {"a": "active", "new": "candidate"}
    assert [check["name"] for check in document["gate"]["checks"] if not check["holds"]] == ["loss"]
    assert "a stays" in document["line"]


def test_one_that_passes_waits_for_the_owner_where_he_wants_that(make: Callable[..., Night]) -> None:
    scene = make(SCHEDULE__AUTO_PROMOTE="false")
    scene.adapter("a", active=True)
    scene.measured = {"a": LIVE, "new": BETTER}
    document = scene.play()
    check_told(scene, document, "waiting")
    assert scene.done == TESTED
    assert scene.states() == {"a": "active", "new": "candidate"}
    assert document["gate"]["passed"]
    assert document["line"] == f"{document['gate']['line']} It waits for your word."


@pytest.mark.parametrize(("measured", "outcome"), [(LIVE, "promoted"), (figures(0.6, anchor=0.5), "refused")])
def test_the_first_adapter_is_held_against_the_base_model(make: Callable[..., Night], measured: dict[str, Any], outcome: str) -> None:
    scene = make()
    scene.measured = {"new": measured}
    document = scene.play()
    check_told(scene, document, outcome)
    assert (document["kind"], document["parent"]) == ("full", None)
    assert scene.parents == [None]
    assert scene.tested == [(["new"], stages.ITEMS)]
    assert json.loads(scene.sealed()["answers.json"])[0]["live"] == "base 0"
    assert scene.states() == {"new": "active" if outcome == "promoted" else "candidate"}


def test_a_full_night_trains_from_the_base_model_and_is_held_against_the_active_adapter(make: Callable[..., Night]) -> None:
    scene = make()
    scene.adapter("a", active=True)
    scene.measured = {"a": LIVE, "new": WORSE}
    document = scene.play(night.Order(full=True))
    assert scene.parents == [None]
    assert scene.tested == [(["a", "new"], stages.ITEMS)]
    assert (document["kind"], document["parent"], document["outcome"]) == ("full", "a", "refused")


def test_what_was_trained_is_shown_in_figures_and_in_ten_answers_spread_over_all(make: Callable[..., Night]) -> None:
    scene = make()
    scene.adapter("a", active=True)
    scene.measured = {"a": LIVE, "new": BETTER}
    document = scene.play()
    assert set(scene.sealed()) == {"manifest.json", "answers.json", "card.png"}
    answers = json.loads(scene.sealed()["answers.json"])
    assert answers == [{"message": f"m{i}", "owner": f"o{i}", "live": f"a {i}", "new": f"new {i}"} for i in range(0, 20, 2)]
    assert set(document["figures"]) == {"base", "owner", "a", "new"}
    assert "answers" not in document["figures"]["new"], "people's words stay out of what is shown"
    assert document["figures"]["new"]["loss"] == BETTER["loss"]
    assert (document["mixture"], document["metrics"]) == ({"new_targets": 7}, {"seconds": 1.5})
    assert document["curve"]["train"] == [[1, 3.0]]


# --- nothing new ------------------------------------------------------------------------------------------------------


def check_nothing_new(scene: Night, line: str) -> None:
    """Nothing is tested, shown or promoted, and the engine goes on."""
    before = scene.states()
    document = scene.play()
    check_told(scene, document, "nothing new")
    assert scene.done == [*FIRST, "resume"]
    assert set(scene.sealed()) == {"manifest.json"}
    assert not {"gate", "figures", "metrics"} & document.keys()
    assert document["line"] == line
    assert scene.states() == before


def test_a_parent_that_knows_it_all_stays_active(make: Callable[..., Night]) -> None:
    scene = make()
    scene.adapter("a", active=True)
    scene.trained = NothingNew("a has learned all of it.")
    check_nothing_new(scene, "a has learned all of it.")
    assert scene.row().detail["adapter"] is None


def test_a_training_that_leads_to_the_active_adapter_changes_nothing(make: Callable[..., Night]) -> None:
    scene = make()
    scene.adapter("a", active=True)
    scene.trained = scene.active()
    check_nothing_new(scene, "Nothing new to learn: a stays active.")


def test_a_training_that_leads_to_one_that_was_set_aside_does_not_bring_it_back(make: Callable[..., Night]) -> None:
    scene = make()
    scene.adapter("b", active=True)
    scene.adapter("a", active=True)  # b is retired now
    scene.trained = on_store(scene.data, lambda connection: adapters.get(connection, "b"))
    check_nothing_new(scene, "Nothing new to learn since b, which was set aside: what answers now stays.")


def test_a_set_aside_one_is_not_brought_back_where_none_is_active(make: Callable[..., Night]) -> None:
    scene = make()
    scene.adapter("b")
    on_store(scene.data, lambda connection: adapters.retire(connection, "b"))
    scene.trained = on_store(scene.data, lambda connection: adapters.get(connection, "b"))
    check_nothing_new(scene, "Nothing new to learn since b, which was set aside: what answers now stays.")


def test_a_candidate_of_an_earlier_night_is_tested_again(make: Callable[..., Night]) -> None:
    scene = make()
    scene.adapter("a", active=True)
    scene.trained = scene.adapter("new", parent="a")
    scene.measured = {"a": LIVE, "new": BETTER}
    check_told(scene, scene.play(), "promoted")
    assert scene.states() == {"a": "retired", "new": "active"}


def test_a_training_that_fails_leaves_the_engine_running_and_no_folder(make: Callable[..., Night]) -> None:
    scene = make()
    scene.adapter("a", active=True)
    scene.trained = EngineError("The card is full.", kind="refused", mend="Free it.")
    with pytest.raises(EngineError):
        scene.play()
    assert scene.done == [*FIRST, "resume"]
    assert (scene.row().state, scene.row().stage) == ("failed", "train")
    assert scene.sealed() == {}
    assert scene.states() == {"a": "active"}
