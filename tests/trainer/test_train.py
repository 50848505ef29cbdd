"""A run leaves a sealed adapter that says how it was made, whatever kills it on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dataset_scene import files_of
from small_models import save_tiny_llama

import trainer.train
from trainer.batches import to_rows
from trainer.dataset_reader import load_tokenizer, read_examples, read_manifest
from trainer.estimate import Estimate
from trainer.lora import batch_loss, load_model, mean_loss
from trainer.train import adapter_name, train
from trainer.train_main import main
from twin.base_folder import tokenizer_hash
from twin.errors import InputError, ModelError
from twin.renderer import Renderer
from twin.settings import Training

FAST = Training(r=8, alpha=16, learning_rate=2e-2, batch_tokens=256, epochs=4)


@pytest.fixture(scope="module")
def adapter(toy: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole run with FAST."""
    return train(toy, tiny_base, tmp_path_factory.mktemp("adapters") / "whole", FAST)


def manifest_of(adapter: Path) -> dict[str, Any]:
    return json.loads((adapter / "manifest.json").read_text())


def weights_of(adapter: Path) -> bytes:
    return (adapter / "adapter_model.safetensors").read_bytes()


class Killed(BaseException):
    """Stands for a kill: nothing in the product catches it."""


def killed_at(share: float) -> Any:
    def progress(done: float, total: float | None, note: str = "") -> None:
        if done >= share:
            raise Killed

    return progress


# --- what a run leaves ------------------------------------------------------------------------------------------------


def test_the_sealed_folder_holds_these_files_and_no_checkpoint(adapter, toy, tiny_base):
    assert set(files_of(adapter)) == {"adapter_config.json", "adapter_model.safetensors", "loss.png", "manifest.json"}
    assert [path.name for path in adapter.parent.iterdir()] == ["whole"]
    assert (adapter / "loss.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    manifest = manifest_of(adapter)
    assert manifest["name"] == "whole"
    assert manifest["base"] == {"name": "example/tiny-llama", "tokenizer": tokenizer_hash(tiny_base)}
    assert manifest["dataset"] == toy.name
    assert manifest["dialog_ids"] == [1, 2]
    assert Training(**manifest["recipe"]) == FAST
    assert set(manifest["files"]) == set(files_of(adapter)) - {"manifest.json"}
    metrics = manifest["metrics"]
    assert len(manifest["curve"]["train"]) == metrics["steps"] > 10
    assert metrics["tokens"] == 4 * manifest["estimate"]["tokens"]
    assert metrics["best_step"] in [step for step, _ in manifest["curve"]["validation"]]
    assert metrics["validation_loss"] == min(loss for _, loss in manifest["curve"]["validation"])


def test_the_loss_falls(adapter):
    curve = [loss for _, loss in manifest_of(adapter)["curve"]["train"]]
    validation = [loss for _, loss in manifest_of(adapter)["curve"]["validation"]]
    assert sum(curve[-3:]) < 0.9 * sum(curve[:3])
    assert min(validation) < 0.9 * curve[0]


def test_every_linear_layer_but_the_head_is_tuned(adapter):
    # r * (in + out) of q, k, v, o, gate, up, down, in two layers
    assert manifest_of(adapter)["estimate"]["trainable"] == 8 * 2 * (128 + 96 + 96 + 128 + 192 + 192 + 192)
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert {name.split(".")[-1] for name in config["target_modules"]} == {
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    }
    assert (config["r"], config["lora_alpha"]) == (8, 16)
    assert config["base_model_name_or_path"] == "example/tiny-llama"


def test_plain_peft_loads_it_and_it_acts(adapter, tiny_base):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.bfloat16)
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        tuned = PeftModel.from_pretrained(model, adapter)
        assert not torch.allclose(before, tuned(input_ids=ids).logits)
        with tuned.disable_adapter():
            assert torch.equal(before, tuned(input_ids=ids).logits)


def test_the_estimate_comes_before_the_first_step(toy, tiny_base, tmp_path):
    seen: list[Any] = []
    train(toy, tiny_base, tmp_path / "a", FAST.model_copy(update={"epochs": 1}), lambda *now: seen.append(now), announce=seen.append)
    known = seen[0]
    assert isinstance(known, Estimate)
    assert all(isinstance(now, tuple) for now in seen[1:])
    own = sum(1 for _ in read_examples(toy, "train"))
    assert own < known.examples <= own + 10  # and some general instructions
    assert known.flops == 4 * known.parameters * known.tokens
    assert known.seconds > 0 < known.memory_gib
    assert [now[0] for now in seen[1:]] == sorted(now[0] for now in seen[1:])
    assert seen[-1][0] == 1.0


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(adapter, toy, tiny_base, tmp_path):
    assert weights_of(train(toy, tiny_base, tmp_path / "again", FAST)) == weights_of(adapter)
    assert weights_of(train(toy, tiny_base, tmp_path / "other", FAST.model_copy(update={"seed": 2}))) != weights_of(adapter)


def test_a_name_says_what_it_was_made_from(toy, tiny_base):
    name = adapter_name(toy, tiny_base, FAST)
    assert name == adapter_name(toy, tiny_base, Training(**FAST.model_dump()))
    assert name != adapter_name(toy, tiny_base, FAST.model_copy(update={"r": 16}))
    assert name != adapter_name(toy.with_name("0" * 16), tiny_base, FAST)


# --- how long -----------------------------------------------------------------------------------------------------------


def test_a_budget_in_minutes_ends_the_run_and_its_schedule(toy, tiny_base, tmp_path, monkeypatch):
    ticks = iter(range(10**9))
    monkeypatch.setattr(trainer.train, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))  # a second passes at each look
    rates: list[float] = []
    step = trainer.train.train_step
    monkeypatch.setattr(trainer.train, "train_step", lambda *a: rates.append(a[3]) or step(*a))
    out = train(toy, tiny_base, tmp_path / "a", FAST.model_copy(update={"epochs": 1000, "minutes": 0.5}))
    metrics = manifest_of(out)["metrics"]
    assert 20 <= metrics["steps"] <= 30  # 30 seconds, a second a step, a second a validation
    assert max(rates) == pytest.approx(FAST.learning_rate, rel=0.02)
    assert rates[-1] < 0.15 * FAST.learning_rate


def test_early_stopping_keeps_the_best_weights(toy, tiny_base, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    losses = iter([3.0, 2.0, 2.5, 2.6, 2.7, 1.0])
    seen: list[dict[str, Any]] = []

    def mean_loss(model: Any, rows: Any, padded: int) -> float:
        seen.append({name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad})
        return next(losses)

    monkeypatch.setattr(trainer.train, "mean_loss", mean_loss)
    monkeypatch.setattr(trainer.train, "VALIDATIONS", 12)
    out = train(toy, tiny_base, tmp_path / "a", FAST)
    manifest = manifest_of(out)
    assert [loss for _, loss in manifest["curve"]["validation"]] == [3.0, 2.0, 2.5, 2.6, 2.7]
    assert manifest["metrics"]["best_step"] == manifest["curve"]["validation"][1][0]
    assert manifest["metrics"]["validation_loss"] == 2.0
    assert manifest["metrics"]["tokens"] < 3 * manifest["estimate"]["tokens"]
    kept = load_file(out / "adapter_model.safetensors")
    assert all(kept[name.replace(".default.", ".")].equal(value) for name, value in seen[1].items())


def test_without_a_validation_slice_the_last_weights_are_kept(toy, tiny_base, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer.train, "read_examples", lambda path, split: read_examples(path, split) if split == "train" else iter(()))
    metrics = manifest_of(train(toy, tiny_base, tmp_path / "a", FAST.model_copy(update={"epochs": 1})))["metrics"]
    assert metrics["validation_loss"] is None
    assert metrics["best_step"] == metrics["steps"]


def test_a_loss_that_is_no_number_ends_the_run(toy, tiny_base, tmp_path, monkeypatch):
    import torch

    def batch_loss(model: Any, batch: Any) -> tuple[Any, int]:
        return torch.tensor(float("nan"), requires_grad=True), 1

    monkeypatch.setattr(trainer.train, "batch_loss", batch_loss)
    monkeypatch.setattr(trainer.train.Masters, "step", lambda *_: pytest.fail("it stepped"))
    with pytest.raises(ModelError, match="no longer a number"):
        train(toy, tiny_base, tmp_path / "a", FAST)


# --- kills ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same_weights(adapter, toy, tiny_base, tmp_path, dropout):
    training = FAST.model_copy(update={"dropout": dropout})
    whole = adapter if not dropout else train(toy, tiny_base, tmp_path / "whole", training)
    out = tmp_path / "killed"
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(Killed):
            train(toy, tiny_base, out, training, killed_at(share))
    assert not out.exists()
    seen: list[float] = []
    train(toy, tiny_base, out, training, lambda done, *_: seen.append(done))
    assert seen[0] > 0.5
    assert weights_of(out) == weights_of(whole)
    kept, expected = manifest_of(out), manifest_of(whole)
    assert kept["curve"] == expected["curve"]
    assert kept["metrics"]["tokens"] == expected["metrics"]["tokens"]
    assert not out.with_name("killed.training").exists()


def events(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout
        for line in child.stdout:
            yield child, json.loads(line)


@pytest.mark.slow
def test_kill_9_costs_no_more_than_the_time_since_the_checkpoint(adapter, toy, tiny_base, tmp_path):
    out = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "trainer.train",
        "--dataset",
        toy,
        "--base",
        tiny_base,
        "--out",
        out,
        "--recipe",
        FAST.model_dump_json(),
    ]
    for child, event in events(list(map(str, command))):
        if event["event"] == "progress" and event["done"] > 0.5:
            os.kill(child.pid, signal.SIGKILL)
            break
    assert child.wait(30) == -signal.SIGKILL
    assert not out.exists()
    done = [event["done"] for _, event in events(list(map(str, command))) if event["event"] == "progress"]
    assert done[0] > 0.4
    assert done[-1] == 1.0
    assert weights_of(out) == weights_of(adapter)


def test_another_recipe_does_not_go_on_from_this_ones_checkpoint(toy, tiny_base, tmp_path):
    with pytest.raises(Killed):
        train(toy, tiny_base, tmp_path / "a", FAST, killed_at(0.5))
    seen: list[float] = []
    train(toy, tiny_base, tmp_path / "a", FAST.model_copy(update={"r": 4, "epochs": 1}), lambda done, *_: seen.append(done))
    assert len(seen) == manifest_of(tmp_path / "a")["metrics"]["steps"]


def test_a_sealed_folder_is_returned_untouched(adapter, toy, tiny_base):
    before = files_of(adapter)
    assert train(toy, tiny_base, adapter, FAST, lambda *_: pytest.fail("it trained")) == adapter
    assert files_of(adapter) == before


def test_half_a_folder_is_replaced(toy, tiny_base, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(b"half")
    out = train(toy, tiny_base, tmp_path / "a", FAST.model_copy(update={"epochs": 0.5}))
    assert len(weights_of(out)) > 1000


# --- what is refused --------------------------------------------------------------------------------------------------


def test_what_is_no_dataset_is_refused(adapter, tiny_base, tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path, adapter):
        with pytest.raises(InputError, match=r"not a (complete )?dataset"):
            train(folder, tiny_base, tmp_path / "a", FAST)
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_of_another_tokenizer_is_refused(toy, base, tmp_path):
    other = save_tiny_llama(tmp_path / "other", base)
    (other / "chat_template.jinja").write_text((base / "chat_template.jinja").read_text() + "{# changed #}")
    assert read_manifest(toy)["tokenizer"] != tokenizer_hash(other)
    with pytest.raises(InputError, match="another tokenizer"):
        train(toy, other, tmp_path / "a", FAST)


def test_a_base_that_cannot_be_loaded_is_named(toy, tiny_base, base, tmp_path):
    broken = save_tiny_llama(tmp_path / "broken", base)
    (broken / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="broken cannot be loaded"):
        train(toy, broken, tmp_path / "a", FAST)


# --- quantised --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quantization", "layer"), [("nf4", "Linear4bit"), ("int8", "Linear8bitLt")])
def test_a_quantised_base_is_trained_on_the_cpu_too(adapter, toy, tiny_base, tmp_path, monkeypatch, quantization, layer):
    loaded: list[Any] = []
    monkeypatch.setattr(trainer.train, "load_model", lambda *a: loaded.append(load_model(*a)) or loaded[-1])
    out = train(toy, tiny_base, tmp_path / "a", FAST.model_copy(update={"epochs": 2, "quantization": quantization}))
    kinds = [type(module.base_layer).__name__ for module in loaded[0].modules() if hasattr(module, "base_layer")]
    assert kinds == [layer] * 14
    manifest = manifest_of(out)
    curve = [loss for _, loss in manifest["curve"]["train"]]
    assert sum(curve[-2:]) < 0.95 * sum(curve[:2])
    assert manifest["recipe"]["quantization"] == quantization
    assert manifest["estimate"]["parameters"] == manifest_of(adapter)["estimate"]["parameters"]  # 4 packed bits are a weight too


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_a_validation_changes_no_later_gradient(toy, tiny_base, quantization):
    import torch

    rows = to_rows(read_examples(toy, "train"), Renderer(load_tokenizer(tiny_base)))[:2]
    torch.manual_seed(1)
    model = load_model(tiny_base, FAST.model_copy(update={"quantization": quantization}))

    def gradients() -> list[Any]:
        batch_loss(model, rows)[0].backward()
        found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        model.zero_grad()
        return found

    before = gradients()
    assert any(gradient.any() for gradient in before)
    assert mean_loss(model, rows, 500) == mean_loss(model, rows, 500)
    assert all(torch.equal(one, other) for one, other in zip(before, gradients(), strict=True))


# --- as a process -----------------------------------------------------------------------------------------------------


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_command_tells_events_and_takes_every_setting(toy, tiny_base, tmp_path, capsys):
    where = ["--dataset", str(toy), "--base", str(tiny_base), "--out", str(tmp_path / "a")]
    settings = ["--epochs", "0.5", "--r", "4", "--learning-rate", "0.002", "--seed", "3", "--quantization", "none", "--minutes", "9"]
    assert main([*where, "--recipe", '{"alpha": 8, "r": 64}', *settings]) == 0
    told = lines(capsys)
    assert [told[0]["event"], told[-1]["event"]] == ["estimate", "done"]
    assert {event["event"] for event in told[1:-1]} == {"progress"}
    assert {"done", "total", "note"} <= told[1].keys()
    recipe = Training(epochs=0.5, r=4, alpha=8, learning_rate=0.002, seed=3, minutes=9)
    manifest = manifest_of(tmp_path / "a")
    assert Training(**manifest["recipe"]) == recipe
    assert told[-1]["metrics"] == manifest["metrics"]


def test_the_command_says_what_is_wrong(tiny_base, tmp_path, capsys):
    where = ["--dataset", str(tmp_path), "--base", str(tiny_base), "--out", str(tmp_path / "a")]
    assert main(where) == 1
    (told,) = lines(capsys)
    assert (told["event"], told["mend"]) == ("error", "Build it with `twin dataset`.")
    for wrong in (["--r", "0"], ["--recipe", "{"], ["--recipe", '{"rank": 1}'], ["--rank", "1"]):
        with pytest.raises(SystemExit) as ended:
            main([*where, *wrong])
        assert ended.value.code == 2
