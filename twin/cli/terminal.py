"""What a command says and where: its result on stdout (text, or one JSON document), everything else on stderr."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.containers import Lines
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from twin import progress
from twin.cli import border
from twin.cli.options import Data as Data  # commands take all that they need from here
from twin.cli.options import Debug as Debug
from twin.cli.options import Json as Json
from twin.names import clean_text
from twin.utf16 import graphemes

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

PIPE_WIDTH = 200
PLAIN_EVERY_SECONDS = 10.0  # how often progress is told where there is no terminal to draw a bar in


class BorderConsole(Console):
    """Texts go to the terminal without what would command it, and are never read as markup."""

    def __init__(self, stream: Any) -> None:
        # A pipe has no width: lines and tables keep theirs instead of being folded to 80 columns.
        width = None if stream.isatty() else PIPE_WIDTH
        super().__init__(file=border.behind(stream), highlight=False, markup=False, emoji=False, width=width)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=border.cleaned(segment.text))


class Screen:
    """One command's voice. Pass what others wrote (names, messages) as `Words`."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.out = BorderConsole(sys.stdout)
        self.err = BorderConsole(sys.stderr)

    def say(self, what: RenderableType) -> None:
        """A line for the person who watches."""
        self.err.print(what)

    def show(self, *what: RenderableType, sep: str = " ") -> None:
        """Part of the result, for a person; with --json nothing, `result` holds it all."""
        if not self.as_json:
            self.out.print(*what, sep=sep)

    def result(self, document: dict[str, Any]) -> None:
        """The result, for a machine: call it once, last."""
        if self.as_json:
            print_json(document)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Go on only if the person agrees. Without a terminal to ask in, only --yes agrees."""
        if yes:
            return
        if not self.err.is_terminal or self.as_json:
            raise typer.BadParameter(f"{question} Say so with --yes.", param_hint="--yes")
        if not typer.confirm(border.cleaned(question), err=True):
            self.say("Nothing was changed.")
            raise typer.Exit(1)

    @contextmanager
    def bar(self, title: str, *, after: Callable[[], str] = lambda: "") -> Iterator[progress.Progress]:
        """A progress bar with the time left; plain lines where stderr is no terminal; silent with --json.

        `after` is asked for a last figure at every update, such as the time left in all."""
        if self.as_json:
            yield progress.silent
        elif not self.err.is_terminal:
            yield self._plain(title, after)
        else:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TextColumn("[dim]left[/dim]"),
                TimeRemainingColumn(),
                TextColumn("[cyan]{task.fields[note]}[/cyan] [dim]{task.fields[after]}[/dim]"),
            )
            with Progress(*columns, console=self.err) as bars:
                task = bars.add_task(title, total=None, note="", after="")

                def update(done: float, total: float | None, note: str = "") -> None:
                    bars.update(task, completed=done, total=total, note=escape(note), after=after())

                yield update
                total = bars.tasks[0].total
                bars.update(task, completed=total or 1, total=total or 1, after="")

    def _plain(self, title: str, after: Callable[[], str]) -> progress.Progress:
        began_at = told_at = time.monotonic()

        def update(done: float, total: float | None, note: str = "") -> None:
            nonlocal told_at
            now = time.monotonic()
            if now - told_at < PLAIN_EVERY_SECONDS:
                return
            told_at = now
            share = done / total if total else 0.0
            left = f"{duration((now - began_at) * (1 - share) / share)} left" if share > 0 else ""
            self.say(Text("  " + " · ".join(part for part in (title, f"{share:.0%}" if total else "", note, left, after()) if part)))

        return update


class Words(Text):
    """What somebody else wrote, a name or a message: no escape sequence reaches the terminal, and where a word is wider than its
    column, it is folded between graphemes (Rich's own folding tears flags)."""

    def __init__(self, text: str, style: str = "") -> None:
        super().__init__(clean_text(text), style=style)

    def wrap(self, console: Console, width: int, **options: Any) -> Lines:
        return Text(fold(self.plain, width), style=self.style).wrap(console, width, **options)


def fold(text: str, width: int) -> str:
    """The text with each word that is wider than `width` columns on lines of its own."""

    def parted(word: re.Match[str]) -> str:
        lines = [""]
        for cluster in graphemes(word.group()):
            if lines[-1] and cell_len(lines[-1] + cluster) > width:
                lines.append("")
            lines[-1] += cluster
        return "\n".join(lines)

    return re.sub(r"\S+", lambda word: parted(word) if cell_len(word.group()) > width else word.group(), text)


def table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns named in `right` hold figures."""
    grid = Table(
        title=title or None, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return grid


def print_json(document: dict[str, Any]) -> None:
    stream = border.behind(sys.stdout)
    shown = border.escaped(json.dumps(document, ensure_ascii=False, indent=1, default=str))
    try:
        shown.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:  # an encoding that has not all of it, or half a character
        shown = json.dumps(document, indent=1, default=str)
    stream.write(shown + "\n")
    stream.flush()


def duration(seconds: float) -> str:
    """About how long, for people: 8 s, 3 min, 2 h 05 min."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
