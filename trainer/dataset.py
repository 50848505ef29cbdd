"""The store -> a sealed dataset folder. Deterministic: the same messages and settings give the same bytes.

    data/datasets/<hash>/  train.jsonl  validation.jsonl  holdout.jsonl  anchor.jsonl  report.json  manifest.json (written last)

Only private chats whose contact's consent is recorded, and of those only what the owner's account saw. Chats are never mixed
in one example. The hash covers the examples and the rules; report.json, with counts of all chats, is as of the first build.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from trainer.examples import REASONS, SPLITS, Example, Rules, Split, Tally, examples_of
from twin.base_folder import tokenizer_hash
from twin.errors import InputError
from twin.progress import Progress, silent
from twin.settings import Settings
from twin.store import dialogs as dialog_rows
from twin.store import messages as message_rows
from twin.turns import Renderer, Turn, system_turn

CHANNEL = "account"  # the owner's own chats; text that came through the bot does not train
HISTOGRAM = (32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class ContactCount:
    """One dialog's share, as the owner's account saw it. `left_out` says why the whole chat is not in the dataset, None if it is."""

    dialog_id: int
    name: str
    messages: int
    owner_messages: int
    targets: int
    left_out: str | None


@dataclass(frozen=True)
class DatasetReport:
    """What was built. `verdicts` counts the owner's messages in the chats that are in: splits for targets, else a key
    of `trainer.examples.REASONS`."""

    path: Path
    hash: str
    reused: bool
    examples: dict[str, int]
    targets: dict[str, int]  # turns
    tokens: int  # of the train split
    supervised_tokens: int  # of the train split
    verdicts: dict[str, int]  # messages of the owner
    contacts: tuple[ContactCount, ...]
    histogram: dict[str, int]  # upper bound of tokens -> train examples

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"path": str(self.path), "reasons": REASONS}


async def build_dataset(store: AsyncEngine, settings: Settings, base: Path, out: Path, progress: Progress = silent) -> DatasetReport:
    """Build into `out/<hash>`; an equal one that is there already is kept. Raises InputError if nothing can be learned."""
    renderer = Renderer(load_tokenizer(base))
    rules = Rules(
        gap_seconds=settings.dataset.gap_hours * 3600,
        max_tokens=settings.dataset.max_tokens,
        holdout_fraction=settings.dataset.holdout_fraction,
        validation_fraction=settings.dataset.validation_fraction,
        repeat_cap=settings.dataset.repeat_cap,
        anchor_fraction=settings.dataset.anchor_fraction,
    )
    tally = Tally()
    examples: list[Example] = []
    contacts: list[ContactCount] = []
    async with store.connect() as connection:
        dialogs = sorted(await dialog_rows.find(connection), key=lambda d: d.dialog_id)
        counts = await message_rows.counts(connection, channel=CHANNEL)
        for done, dialog in enumerate(dialogs):
            total, own = counts.get(dialog.dialog_id, (0, 0))
            left_out = (
                "excluded" if dialog.excluded else None if dialog.consent == "given" else f"consent: {dialog.consent or 'never asked'}"
            )
            found: list[Example] = []
            if left_out is None:
                rows = [m for m in await message_rows.history(connection, dialog.dialog_id) if m.channel == CHANNEL]
                system = system_turn(settings.owner.name, dialog.name)
                found = examples_of(dialog.dialog_id, rows, system, rules, renderer.count, tally)
                examples += found
            contacts.append(ContactCount(dialog.dialog_id, dialog.name, total, own, sum(len(e.targets) for e in found), left_out))
            progress(done + 1, len(dialogs))
    if not any(e.split == "train" for e in examples):
        raise InputError(
            "There is nothing to learn from: no reply of the owner in a chat with consent.",
            mend="`twin contacts` shows who has consented; `twin collect` or `twin import` brings messages.",
        )
    return _seal(out, examples, contacts, tally, rules, renderer, base)


def load_tokenizer(base: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base)


def is_dataset(folder: Path) -> bool:
    """Whether the folder is sealed: a manifest is written last, so its presence means complete."""
    return (folder / "manifest.json").exists()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises InputError if the folder is not a sealed dataset."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise InputError(f"{folder} is not a complete dataset (no readable manifest.json).", mend="Build it with `twin dataset`.") from exc
    if not isinstance(manifest, dict) or not {"files", "rules", "tokenizer", "dialog_ids", "train_until"} <= manifest.keys():
        raise InputError(f"{folder} is not a dataset (its manifest.json is of something else).", mend="Build one with `twin dataset`.")
    return manifest


def read_examples(folder: Path, split: Split) -> Iterator[Example]:
    """The examples of one split, in order. Raises InputError if the file is not what the manifest sealed."""
    sealed = read_manifest(folder)["files"]
    path = folder / f"{split}.jsonl"
    content = path.read_bytes() if path.exists() else b"?"
    if hashlib.sha256(content).hexdigest() != sealed.get(path.name):
        raise InputError(f"{path} was changed after it was sealed.", mend="Delete the folder and run `twin dataset`.")
    for line in content.splitlines():  # of bytes: str.splitlines would also cut at U+2028, which people do paste
        row = json.loads(line)
        yield Example(
            row["dialog_id"], split, tuple(Turn(role, text) for role, text in row["turns"]), tuple(row["targets"]), tuple(row["at"])
        )


def _seal(
    out: Path, examples: list[Example], contacts: list[ContactCount], tally: Tally, rules: Rules, renderer: Renderer, base: Path
) -> DatasetReport:
    files = {f"{split}.jsonl": _lines(e for e in examples if e.split == split) for split in SPLITS}
    manifest: dict[str, Any] = {
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "rules": asdict(rules),
        "tokenizer": tokenizer_hash(base),
        "dialog_ids": sorted({e.dialog_id for e in examples}),
        "train_until": _train_until(examples),
    }
    sealed = json.dumps(manifest, sort_keys=True, indent=1).encode()
    name = hashlib.sha256(sealed).hexdigest()[:16]
    tokens, supervised, histogram = 0, 0, Counter[str]()
    for example in (e for e in examples if e.split == "train"):
        row = renderer.row(example.turns)
        tokens += len(row.ids)
        supervised += sum(end - first for i, first, end in row.spans if i in example.targets)
        histogram[next((str(bound) for bound in HISTOGRAM if len(row.ids) <= bound), "more")] += 1
    report = DatasetReport(
        path=out / name,
        hash=name,
        reused=is_dataset(out / name),
        examples={split: sum(e.split == split for e in examples) for split in SPLITS},
        targets={split: sum(len(e.targets) for e in examples if e.split == split) for split in SPLITS},
        tokens=tokens,
        supervised_tokens=supervised,
        verdicts=dict(sorted(tally.verdicts.items())),
        contacts=tuple(contacts),
        histogram={str(b): histogram[str(b)] for b in (*HISTOGRAM, "more") if histogram[str(b)]},
    )
    if not report.reused:
        building = out / f"{name}.building"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True, mode=0o700)
        for file, content in files.items():
            (building / file).write_bytes(content)
        kept = {key: value for key, value in report.as_json().items() if key not in ("path", "reused")}
        (building / "report.json").write_text(json.dumps(kept, sort_keys=True, indent=1), encoding="utf-8")
        (building / "manifest.json").write_bytes(sealed)
        shutil.rmtree(out / name, ignore_errors=True)  # what a crash left there has no manifest
        building.rename(out / name)
    return report


def _train_until(examples: Iterable[Example]) -> dict[str, int]:
    """When the newest reply that trains began, in unix seconds, of each dialog: an adapter trained on this knows it up to then."""
    until: dict[str, int] = {}
    for e in examples:
        if e.split == "train":
            until[str(e.dialog_id)] = max(until.get(str(e.dialog_id), 0), *e.at)
    return until


def _lines(examples: Iterable[Example]) -> bytes:
    rows = (
        {"dialog_id": e.dialog_id, "turns": [[t.role, t.content] for t in e.turns], "targets": list(e.targets), "at": list(e.at)}
        for e in examples
    )
    return "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows).encode("utf-8")
