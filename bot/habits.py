"""What is known about this owner and costs too much to work out for each message: word lists, tempos, how sure an adapter must be."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from functools import cached_property

from twin import confidence, tempo, word_lists
from twin.settings import Settings
from twin.store import adapters, messages
from twin.store.engine import Store
from twin.tempo import Tempo
from twin.word_lists import WordLists

LEARNED_FROM = 5000  # newest messages of a dialog
FRESH = timedelta(hours=6)


@dataclass
class Habits:
    settings: Settings
    store: Store
    zone: tzinfo
    _tempos: dict[int, tuple[datetime, Tempo]] = field(default_factory=dict)
    _thresholds: dict[str | None, float | None] = field(default_factory=dict)

    @cached_property
    def lists(self) -> WordLists:
        """Raises InputError for a broken file of `auto.words`."""
        return word_lists.load(self.settings.auto.words)

    async def tempo(self, dialog_id: int, now: datetime) -> Tempo:
        """How the owner answers this contact, learned again every few hours."""
        known = self._tempos.get(dialog_id)
        if known is None or now - known[0] > FRESH:
            async with self.store.connect() as connection:
                history = await messages.history(connection, dialog_id, newest=LEARNED_FROM)
            known = now, await asyncio.to_thread(tempo.learn, history, self.zone)
            self._tempos[dialog_id] = known
        return known[1]

    async def min_logprob(self, adapter: str | None) -> float | None:
        """The mean log-probability below which an answer of this adapter (None: the base model) is not sure enough."""
        if adapter not in self._thresholds:
            async with self.store.connect() as connection:
                known = await adapters.get(connection, adapter) if adapter else None
            self._thresholds[adapter] = confidence.threshold(known.metrics if known else {}, self.settings)
        return self._thresholds[adapter]
