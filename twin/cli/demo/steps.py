"""The demo's steps: each says what it does and how long is left in all, and is timed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.text import Text

from twin import progress
from twin.cli.terminal import Screen, duration


class Steps:
    """`plan` gives for each step, in order, its title and how many seconds it is thought to take."""

    def __init__(self, screen: Screen, plan: Mapping[str, tuple[str, float]]) -> None:
        self.screen = screen
        self.plan = dict(plan)
        self.took: list[dict[str, object]] = []
        self._began_at = 0.0
        self._share = 0.0  # of the running step, as far as it tells

    @contextmanager
    def step(self, name: str) -> Iterator[progress.Progress]:
        """Announce and time a step; what it tells is shown as a bar with the time left in all."""
        title, _ = self.plan[name]
        self._began_at, self._share = time.monotonic(), 0.0
        place = list(self.plan).index(name) + 1
        self.screen.say(Text.assemble((f"{place}/{len(self.plan)} ", "bold"), title, (f"  {self.left(name)}", "dim")))
        with self.screen.bar(title.split(",")[0], after=lambda: self.left(name)) as bar:

            def tell(done: float, total: float | None, note: str = "") -> None:
                self._share = min(1.0, done / total) if total else 0.0
                bar(done, total, note)

            yield tell
        self.took.append({"name": name, "seconds": round(time.monotonic() - self._began_at, 1)})

    def expect(self, name: str, seconds: float) -> None:
        """A step ahead will take so long, by what has been measured meanwhile."""
        title, _ = self.plan[name]
        self.plan[name] = title, seconds

    def left(self, name: str) -> str:
        """About how long until the last step is done."""
        names = list(self.plan)
        later = sum(seconds for _, seconds in (self.plan[other] for other in names[names.index(name) + 1 :]))
        passed = time.monotonic() - self._began_at
        planned = self.plan[name][1]
        # What the step has done so far says better how long it takes than the plan, once it has done something.
        measured = passed / self._share if self._share > 0.02 and passed > 5 else 0.0
        whole = measured if self._share > 0.1 else max(planned, measured, passed)
        return f"about {duration(later + max(0.0, whole - passed))} left in all"
