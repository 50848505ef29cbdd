"""The store -> a sealed dataset folder. Deterministic: the same messages and settings give the same bytes.

Read in this order: here, dataset_parts (one dialog), dataset_pool (many processes), dataset_files (the folder).

    data/datasets/<hash>/  train.jsonl  validation.jsonl  holdout.jsonl  anchor.jsonl  report.json  manifest.json (written last)

Only private chats whose contact's consent is recorded, and of those only what the owner's account saw. Chats are never mixed
in one example. The hash covers the examples and the rules; report.json, with counts of all chats, is as of the first build.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from trainer.dataset_files import building
from trainer.dataset_parts import CHANNEL, HISTOGRAM, Order
from trainer.dataset_pool import parts
from trainer.dataset_reader import is_dataset, load_tokenizer
from trainer.examples import Rules
from trainer.lengths import encoder_of, marks_of
from trainer.verdicts import REASONS, SPLITS
from twin.base_folder import tokenizer_hash
from twin.errors import InputError
from twin.progress import Progress, silent
from twin.renderer import Renderer
from twin.settings import Settings
from twin.store import dialogs as dialog_rows
from twin.store import messages as message_rows

MESSAGES_A_PROCESS = 40_000  # fewer are built before another process has started
MOST_PROCESSES = 8  # each holds the tokenizer


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
    of `trainer.verdicts.REASONS`."""

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


async def build_dataset(
    store: AsyncEngine, settings: Settings, base: Path, out: Path, progress: Progress = silent, *, processes: int | None = None
) -> DatasetReport:
    """Build into `out/<hash>`; an equal one that is there already is kept. Raises InputError if nothing can be learned."""
    tokenizer = load_tokenizer(base)
    renderer = Renderer(tokenizer)
    rules = Rules(
        gap_seconds=settings.dataset.gap_hours * 3600,
        max_tokens=settings.dataset.max_tokens,
        holdout_fraction=settings.dataset.holdout_fraction,
        validation_fraction=settings.dataset.validation_fraction,
        repeat_cap=settings.dataset.repeat_cap,
        anchor_fraction=settings.dataset.anchor_fraction,
    )
    async with store.connect() as connection:
        dialogs = sorted(await dialog_rows.find(connection), key=lambda d: d.dialog_id)
        counts = await message_rows.counts(connection, channel=CHANNEL)
    left_out = {d.dialog_id: "excluded" if d.excluded else f"consent: {d.consent or 'never asked'}" for d in dialogs}
    taken = [d for d in dialogs if not d.excluded and d.consent == "given"]
    if processes is None:
        messages = sum(counts.get(d.dialog_id, (0, 0))[0] for d in taken)
        processes = min(os.cpu_count() or 1, MOST_PROCESSES, messages // MESSAGES_A_PROCESS)
    order = Order(Path(store.url.database or ""), settings.owner.name, rules, marks_of(renderer), encoder_of(tokenizer))

    total = Counter[str]()  # tokens, supervised tokens
    examples, targets, histogram, verdicts = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    targets_of: dict[int, int] = {}
    train_until: dict[str, int] = {}
    with building(out) as folder:
        for done, part in enumerate(parts(order, [(d.dialog_id, d.name) for d in taken], processes)):
            folder.add(part)
            total += Counter({"tokens": part.tokens, "supervised": part.supervised_tokens})
            examples += part.examples
            targets += part.targets
            histogram += part.histogram
            verdicts += part.verdicts
            targets_of[part.dialog_id] = part.targets.total()
            if part.train_until is not None:
                train_until[str(part.dialog_id)] = part.train_until
            progress(done + 1, len(taken))
        if not examples["train"]:
            raise InputError(
                "There is nothing to learn from: no reply of the owner in a chat with consent.",
                mend="`twin contacts` shows who has consented; `twin collect` or `twin import` brings messages.",
            )
        manifest: dict[str, Any] = {
            "files": folder.hashes(),
            "rules": asdict(rules),
            "tokenizer": tokenizer_hash(base),
            "rendering": renderer.rendering,
            "dialog_ids": [dialog_id for dialog_id, found in targets_of.items() if found],
            "train_until": train_until,
        }
        sealed = json.dumps(manifest, sort_keys=True, indent=1).encode()
        name = hashlib.sha256(sealed).hexdigest()[:16]
        report = DatasetReport(
            path=out / name,
            hash=name,
            reused=is_dataset(out / name),
            examples={split: examples[split] for split in SPLITS},
            targets={split: targets[split] for split in SPLITS},
            tokens=total["tokens"],
            supervised_tokens=total["supervised"],
            verdicts=dict(sorted(verdicts.items())),
            contacts=tuple(
                ContactCount(
                    d.dialog_id,
                    d.name,
                    *counts.get(d.dialog_id, (0, 0)),
                    targets_of.get(d.dialog_id, 0),
                    None if d.dialog_id in targets_of else left_out[d.dialog_id],
                )
                for d in dialogs
            ),
            histogram={str(b): histogram[str(b)] for b in (*HISTOGRAM, "more") if histogram[str(b)]},
        )
        if not report.reused:
            kept = {key: value for key, value in report.as_json().items() if key not in ("path", "reused")}
            folder.seal(report.path, json.dumps(kept, sort_keys=True, indent=1), sealed)
    return report
