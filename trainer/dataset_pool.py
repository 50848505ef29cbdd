"""The parts of a dataset, made by processes of their own: `python -m trainer.dataset_pool` is one of them.

Dialogs are measured as they come free, their repeats counted in order, then each is cut by the process that measured it, and
the parts leave in order. So whatever the number of processes and whoever is faster, the parts are the same.
A process reads pickled requests from stdin and ends at the end of it, so none outlives who started it.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

from trainer.dataset_parts import Order, Part, Workbench
from trainer.examples import Tally
from twin.errors import TwinError

HELD = 3  # dialogs that a process holds measured, waiting for earlier ones to be counted
AHEAD = 4  # dialogs for each process that may be begun before the oldest one has left

Dialog = tuple[int, str]  # its id, and what the contact is called


def parts(order: Order, dialogs: Sequence[Dialog], processes: int) -> Iterator[Part]:
    """The part of each dialog, in order. Fewer than two processes: made here."""
    return _made_apart(order, dialogs, processes) if processes > 1 else _made_here(order, dialogs)


def _made_here(order: Order, dialogs: Sequence[Dialog]) -> Iterator[Part]:
    tally = Tally()
    with closing(Workbench(order)) as bench:
        for dialog_id, contact in dialogs:
            texts = bench.measure(dialog_id, contact)
            yield bench.cut(dialog_id, tally.repeated(texts, order.rules.repeat_cap))


def _made_apart(order: Order, dialogs: Sequence[Dialog], processes: int) -> Iterator[Part]:
    line = _Line(dialogs, order.rules.repeat_cap, ahead=AHEAD * processes)
    workers: list[_Worker] = []
    threads: list[threading.Thread] = []
    try:
        for _ in range(processes):
            workers.append(_Worker())
            threads.append(threading.Thread(target=_serve, args=(line, workers[-1], order)))
            threads[-1].start()
        yield from line.parts()
    finally:
        line.stop()
        for worker in workers:
            worker.kill()  # what it has not done by now nobody wants
        for thread in threads:
            thread.join()
        for worker in workers:
            worker.close()


def _serve(line: _Line, worker: _Worker, order: Order) -> None:
    """Have one process do what the line has for it, to the end."""
    mine: deque[int] = deque()  # measured by this process, to be cut by it
    try:
        worker.tell(order)
        while (job := line.next_job(mine)) is not None:
            place, repeated = job
            dialog_id, contact = line.dialogs[place]
            if repeated is None:
                line.measured(place, worker.ask("measure", dialog_id, contact))
                mine.append(place)
            else:
                line.made(place, worker.ask("cut", dialog_id, repeated))
    except (OSError, EOFError, pickle.UnpicklingError) as exc:
        line.stop(exc)


class _Line:
    """Which dialog is where: begun, measured, counted, made, left. Shared by the threads that talk to the processes."""

    def __init__(self, dialogs: Sequence[Dialog], repeat_cap: int, ahead: int) -> None:
        self.dialogs = dialogs
        self._cap = repeat_cap
        self._ahead = ahead
        self._changed = threading.Condition()
        self._tally = Tally()
        self._begun, self._counted, self._left = 0, 0, 0  # how many dialogs are that far
        self._texts: dict[int, list[str]] = {}
        self._repeated: dict[int, set[int]] = {}
        self._made: dict[int, Part] = {}
        self._stopped = False
        self._failure: Exception | None = None

    def next_job(self, mine: deque[int]) -> tuple[int, set[int] | None] | None:
        """A dialog to cut, with its repeats; or one to measure, with None; None if nothing is left. Waits for one."""
        with self._changed:
            while not self._stopped:
                if mine and mine[0] < self._counted:
                    place = mine.popleft()
                    return place, self._repeated.pop(place)
                if self._begun < min(len(self.dialogs), self._left + self._ahead) and len(mine) < HELD:
                    self._begun += 1
                    return self._begun - 1, None
                if self._begun == len(self.dialogs) and not mine:
                    return None
                self._changed.wait()
            return None

    def measured(self, place: int, texts: list[str]) -> None:
        with self._changed:
            self._texts[place] = texts
            while self._counted in self._texts:
                self._repeated[self._counted] = self._tally.repeated(self._texts.pop(self._counted), self._cap)
                self._counted += 1
            self._changed.notify_all()

    def made(self, place: int, part: Part) -> None:
        with self._changed:
            self._made[place] = part
            self._changed.notify_all()

    def parts(self) -> Iterator[Part]:
        """In order. Raises TwinError if a process ended before its time."""
        for place in range(len(self.dialogs)):
            with self._changed:
                self._changed.wait_for(lambda place=place: place in self._made or self._stopped)  # type: ignore[misc]
                if place not in self._made:
                    raise TwinError(
                        "A process that builds the dataset ended before it was done.",
                        mend="Is there enough memory? Run `twin dataset` again.",
                    ) from self._failure
                part = self._made.pop(place)
                self._left = place + 1
                self._changed.notify_all()
            yield part

    def stop(self, failure: Exception | None = None) -> None:
        with self._changed:
            self._stopped = True
            self._failure = self._failure or failure
            self._changed.notify_all()


class _Worker:
    """The other process, spoken to in pickles."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", "trainer.dataset_pool"]
        # One thread each: the processes themselves keep the cores busy.
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def tell(self, message: Any) -> None:
        assert self._child.stdin is not None
        pickle.dump(message, self._child.stdin)
        self._child.stdin.flush()

    def ask(self, step: str, *arguments: Any) -> Any:
        assert self._child.stdout is not None
        self.tell((step, *arguments))
        return pickle.load(self._child.stdout)

    def kill(self) -> None:
        self._child.kill()

    def close(self) -> None:
        self._child.communicate()  # closes the pipes and waits


def main() -> None:
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever a library prints is no answer
    gc.disable()  # a dialog's rows hold no cycles, and looking for them is a tenth of the time
    with closing(Workbench(pickle.load(requests))) as bench:
        steps: dict[str, Callable[..., Any]] = {"measure": bench.measure, "cut": bench.cut}
        while True:
            try:
                step, *arguments = pickle.load(requests)
            except EOFError:
                return
            pickle.dump(steps[step](*arguments), answers)
            answers.flush()


if __name__ == "__main__":
    main()
