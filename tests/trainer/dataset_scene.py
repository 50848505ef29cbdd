"""A store with chats, and the dataset that is built from it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from factories import chat, me, them

from trainer.dataset import DatasetReport, build_dataset
from twin.settings import Settings, load_settings
from twin.store import dialogs, messages, open_store
from twin.store.dialogs import ConsentEvent
from twin.store.engine import Store
from twin.turns import Message

TOPICS = ("tea", "rain", "train", "dog", "music", "work", "bread", "sea", "snow", "book", "car", "garden")
WHEN = datetime(2025, 1, 1, tzinfo=UTC)


def settings_for(folder: Path, **dataset: Any) -> Settings:
    return load_settings(None, data=folder / "data", owner={"name": "Olga"}, dataset=dataset)


async def keep(store: Store, rows: Sequence[Message], *, consent: Sequence[ConsentEvent] = ("given",), excluded: bool = False) -> None:
    """Save the messages of one or more chats; each contact is called after the id."""
    async with store.begin() as connection:
        for dialog_id in dict.fromkeys(m.dialog_id for m in rows):
            await dialogs.save(connection, dialog_id, name=f"Contact {dialog_id}", username=None)
            await dialogs.exclude(connection, dialog_id, excluded)
            for event in consent:
                await dialogs.record_consent(connection, dialog_id, event, WHEN, "ok")
        await messages.save(connection, rows)


async def build(store: Store, folder: Path, base: Path, *, processes: int | None = None, **dataset: Any) -> DatasetReport:
    return await build_dataset(store, settings_for(folder, **dataset), base, folder / "datasets", processes=processes)


def files_of(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def toy_dataset(folder: Path, base: Path, *, dialogs: Sequence[int] = (1, 2), questions: int = 42) -> Path:
    """A sealed dataset that two layers can learn: twelve questions, each with its own answer, asked again and again."""
    rows = []
    for dialog_id in dialogs:
        said = []
        for i in range(questions):
            topic = TOPICS[(i + dialog_id) % len(TOPICS)]
            said += [them(f"{topic}?", after=30), me(f"{topic} {topic}! {topic[0]}")]
        rows += chat(*said, dialog_id=dialog_id)

    async def make() -> Path:
        store = open_store(folder / "twin.sqlite")
        try:
            await keep(store, rows)
            return (await build(store, folder, base, max_tokens=128, repeat_cap=100)).path
        finally:
            await store.dispose()

    return asyncio.run(make())
