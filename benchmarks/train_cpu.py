"""How fast is trainer.train on a CPU beside TRL's SFTTrainer with TRL's own defaults, and does it learn the same?

    .venv/bin/python benchmarks/train_cpu.py [--tokens 40000] [--rounds 2]

Both train the same LoRA on the same rows of real human chats (package chitchat-dataset, cut by trainer.examples), with the
loss on the same positions, the same optimiser, schedule and number of steps. Each run is a fresh process; they take turns,
so that what else the machine does hits both, and the medians are compared. The held-out loss of both adapters comes from
one function. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from trainer.base_model import SAMPLE, prepare_base_model, tokenizer_hash
from trainer.batches import Row, to_rows
from trainer.dataset_reader import load_tokenizer, read_examples
from trainer.examples import Example, Rules, Tally, examples_of
from trainer.lora import mean_loss
from trainer.train import FLOOR, WARMUP, train
from trainer.verdicts import SPLITS
from twin.renderer import Renderer
from twin.settings import Training
from twin.turns import Message, system_turn

BAR = 3.0
TRL_ROWS = 8  # a step: SFTConfig's own default
HELDOUT_TOKENS = 5_000
LOSS_WITHIN = 0.01
RULES = Rules(gap_seconds=24 * 3600, max_tokens=512, holdout_fraction=0.1, validation_fraction=0.0, repeat_cap=5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=40_000, help="of the rows that are trained on; fewer: sooner done")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each side")
    parser.add_argument("--worker", choices=("trl", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(run_trl(args.folder) if args.worker == "trl" else run_ours(args.folder)))
        return
    with tempfile.TemporaryDirectory(prefix="train-cpu-") as temporary:
        print(json.dumps(compare(Path(temporary), args.tokens, args.rounds)))


def compare(folder: Path, tokens: int, rounds: int) -> dict[str, Any]:
    models = Path(os.environ.get("TWIN_MODELS") or folder / "models")
    print("preparing the sample model and the rows ...", flush=True)
    base = prepare_base_model(SAMPLE, models)
    renderer = Renderer(load_tokenizer(base))
    examples = chat_examples(renderer, tokens)
    dataset = seal(folder / "dataset", examples, base)
    rows = to_rows(read_examples(dataset, "train"), renderer)
    total = sum(len(row.ids) for row in rows)
    plan = {"base": str(base), "dataset": str(dataset), "batch_tokens": max(256, round(total * TRL_ROWS / len(rows))), "tokens": total}
    (folder / "plan.json").write_text(json.dumps(plan))
    supervised = sum(len(row.targets) for row in rows)
    print(f"{len(rows)} rows, {total} tokens ({supervised} with a loss), {plan['batch_tokens']} tokens a step", flush=True)

    runs: dict[str, list[dict[str, Any]]] = {"trl": [], "ours": []}
    for number in range(rounds):
        for side in runs:
            runs[side].append(run_worker(side, folder))
            print(f"run {number + 1} {side:4}: {runs[side][-1]['tokens_per_second']:.0f} tokens/s", flush=True)
    speed = {side: statistics.median(run["tokens_per_second"] for run in found) for side, found in runs.items()}
    by_cpu = {side: statistics.median(run["tokens_per_cpu_second"] for run in found) for side, found in runs.items()}

    heldout = spread(to_rows(read_examples(dataset, "holdout"), renderer), HELDOUT_TOKENS)
    loss = {name: heldout_loss(base, adapter, heldout) for name, adapter in (("base", None), *((s, folder / s) for s in runs))}
    difference = abs(loss["ours"] - loss["trl"]) / loss["trl"]
    print(f"held-out loss, nats a token: base {loss['base']:.4f}, trl {loss['trl']:.4f}, ours {loss['ours']:.4f} ({difference:.2%} apart)")
    ratio = speed["ours"] / speed["trl"]
    return {
        "name": "train_cpu",
        "ratio": round(ratio, 2),
        "bar": BAR,
        "holds": bool(ratio >= BAR and difference <= LOSS_WITHIN),
        "tokens_per_second": {side: round(value, 1) for side, value in speed.items()},
        "loss": {name: round(value, 4) for name, value in loss.items()},
        "loss_ratio": round(loss["ours"] / loss["trl"], 4),
        "cpu_seconds_ratio": round(by_cpu["ours"] / by_cpu["trl"], 2),
        "steps": {side: found[-1]["steps"] for side, found in runs.items()},
    }


# --- the two sides ----------------------------------------------------------------------------------------------------


class Clock:
    """Wall and CPU time, and tokens, between the end of the first step and the end of the last: buffers and kernels are warm."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float, float]] = []

    def mark(self, tokens: float) -> None:
        self.marks.append((tokens, time.perf_counter(), time.process_time()))

    def result(self) -> dict[str, Any]:
        tokens, wall, cpu = (last - first for first, last in zip(self.marks[0], self.marks[-1], strict=True))
        return {"tokens_per_second": tokens / wall, "tokens_per_cpu_second": tokens / cpu, "steps": len(self.marks)}


def run_ours(folder: Path) -> dict[str, Any]:
    plan = json.loads((folder / "plan.json").read_text())
    clock = Clock()

    def progress(done: float, total: float | None, note: str = "") -> None:
        clock.mark(done * plan["tokens"])

    train(Path(plan["dataset"]), Path(plan["base"]), folder / f"ours-{os.getpid()}", recipe(plan), progress)
    (folder / f"ours-{os.getpid()}").rename(fresh(folder / "ours"))
    return clock.result()


def run_trl(folder: Path) -> dict[str, Any]:
    """TRL as it comes: fp32 weights under bf16 autocast, gradient checkpointing, 8 rows a step, the default collator."""
    try:
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer
    except ModuleNotFoundError as exc:
        sys.exit(f"{exc.name} is not installed, which this is compared with: .venv/bin/python -m pip install -e '.[bench]'")
    from peft import LoraConfig
    from transformers import TrainerCallback

    plan = json.loads((folder / "plan.json").read_text())
    settings = recipe(plan)
    base = Path(plan["base"])
    rows = to_rows(read_examples(Path(plan["dataset"]), "train"), Renderer(load_tokenizer(base)))
    clock = Clock()

    class Marks(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            clock.mark(float(state.num_input_tokens_seen))

    trainer = SFTTrainer(
        model=str(base),
        args=SFTConfig(
            output_dir=str(folder / "trl-work"),
            num_train_epochs=settings.epochs,
            seed=settings.seed,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr_rate": FLOOR},
            warmup_steps=WARMUP,
            adam_beta2=0.99,
            include_num_input_tokens_seen="non_padding",
            use_cpu=True,  # bf16 is refused on a CPU without it
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"input_ids": list(row.ids), "labels": labels(row)} for row in rows]),
        processing_class=load_tokenizer(base),
        peft_config=LoraConfig(
            r=settings.r,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        callbacks=[Marks()],
    )
    trainer.train()
    trainer.model.save_pretrained(fresh(folder / "trl"))
    return clock.result()


def recipe(plan: dict[str, Any]) -> Training:
    return Training(epochs=1, batch_tokens=plan["batch_tokens"], generic=0.0)  # the same rows on both sides


def labels(row: Row) -> list[int]:
    wanted = set(row.targets)
    return [token if position in wanted else -100 for position, token in enumerate(row.ids)]


def run_worker(side: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--worker", side, "--folder", str(folder)]
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise SystemExit(f"the {side} run failed with exit code {done.returncode}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def heldout_loss(base: Path, adapter: Path | None, rows: Sequence[Row]) -> float:
    """Both adapters are measured as they would be served: bf16 base, bf16 adapter."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    if adapter is None:  # a fresh LoRA is the base model: its B is zero
        tuned = get_peft_model(model, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"), autocast_adapter_dtype=False)
    else:
        tuned = PeftModel.from_pretrained(model, adapter, autocast_adapter_dtype=False)
    return mean_loss(tuned.to(torch.bfloat16), rows, 2048)


# --- the rows ---------------------------------------------------------------------------------------------------------


def chat_examples(renderer: Renderer, tokens: int) -> list[Example]:
    """Examples of the most active person of chitchat-dataset: about `tokens` to train on, spread over the chats, and a holdout."""
    chats = json.loads((resources.files("chitchat_dataset") / "dataset.json").read_text(encoding="utf-8"))
    conversations = [[line for turn in chat["messages"] for line in turn if line["text"].strip()] for chat in chats.values()]
    written = Counter(line["sender"] for lines in conversations for line in lines)
    owner = max(written, key=lambda person: (written[person], person))
    per_contact: dict[str, list[dict[str, str]]] = defaultdict(list)
    for lines in conversations:
        people = {line["sender"] for line in lines}
        if owner in people and len(people) == 2:
            per_contact[(people - {owner}).pop()] += lines
    contacts = sorted(per_contact, key=lambda person: (-len(per_contact[person]), person))
    tally = Tally()
    found: list[Example] = []
    for dialog_id, contact in enumerate(contacts[:12]):
        lines = sorted(per_contact[contact], key=lambda line: datetime.fromisoformat(line["timestamp"]))
        messages = [
            Message(
                "account", dialog_id, i, line["sender"] == owner, datetime.fromisoformat(line["timestamp"]).astimezone(UTC), line["text"]
            )
            for i, line in enumerate(lines)
        ]
        found += examples_of(dialog_id, messages, system_turn("Alex", "Sam"), RULES, renderer.count, tally)
    training = [example for example in found if example.split == "train"]
    lengths = [len(renderer.row(example.turns).ids) for example in training]
    share = min(1.0, tokens / sum(lengths))
    wanted = TRL_ROWS * max(2, int(len(training) * share) // TRL_ROWS)  # whole steps: TRL's last one is not a rest
    return [training[i * len(training) // wanted] for i in range(wanted)] + [e for e in found if e.split == "holdout"]


def spread(rows: Sequence[Row], tokens: int) -> list[Row]:
    wanted = max(1, round(len(rows) * min(1.0, tokens / sum(len(row.ids) for row in rows))))
    return [rows[i * len(rows) // wanted] for i in range(wanted)]


def seal(folder: Path, examples: Sequence[Example], base: Path) -> Path:
    """A dataset folder as trainer.dataset leaves it."""
    folder.mkdir()
    digests = {}
    for split in SPLITS:
        chosen = [e for e in examples if e.split == split]
        lines = [
            json.dumps({"dialog_id": e.dialog_id, "turns": [[t.role, t.content] for t in e.turns], "targets": e.targets, "at": e.at})
            for e in chosen
        ]
        content = "".join(line + "\n" for line in lines).encode()
        (folder / f"{split}.jsonl").write_bytes(content)
        digests[f"{split}.jsonl"] = hashlib.sha256(content).hexdigest()
    manifest = {
        "files": digests,
        "rules": asdict(RULES),
        "tokenizer": tokenizer_hash(base),
        "dialog_ids": sorted({e.dialog_id for e in examples}),
        "train_until": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


if __name__ == "__main__":
    main()
