"""Where `twin init` gets its answers: a person at the terminal, or what is set already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from rich.text import Text

from twin.cli import border
from twin.cli.terminal import Screen
from twin.errors import InputError, SettingsError, TwinError
from twin.settings import Settings


class Asker:
    def __init__(self, screen: Screen, *, non_interactive: bool) -> None:
        self.screen = screen
        self.non_interactive = non_interactive

    def agree(self, question: str, refusal: TwinError) -> None:
        if self.non_interactive or not typer.confirm(border.cleaned(question), err=True):
            raise refusal

    def value(self, question: str, known: str | None, name: str, *, hidden: bool = False) -> str:
        """An answer; what is known already is offered. Raises SettingsError where nobody can be asked."""
        if self.non_interactive:
            if known is None:
                raise SettingsError(f"{name} is not set.", mend="--non-interactive takes it from the environment.")
            return known
        shown = f"{question} (Enter keeps the one there is)" if hidden and known else question
        answer: str = typer.prompt(border.cleaned(shown), default=known, hide_input=hidden, show_default=not hidden, err=True)
        return border.decoded(answer).strip()

    async def once(self, question: str) -> str:
        """What nothing can know beforehand: a code, a password."""
        if self.non_interactive:
            line = border.read_line()
            if not line:
                raise InputError(f"{question}: nothing came on standard input.")
            return line
        answer: str = typer.prompt(border.cleaned(question), hide_input="password" in question, err=True)
        return border.decoded(answer)

    def until_right(
        self, settings: Settings, change: Callable[[Settings], Settings], check: Callable[[Settings], Any]
    ) -> tuple[Settings, Any]:
        """Ask, and let the real service check, until it agrees; once only where nobody can be asked.

        Network trouble ends it: asking again would not help."""
        while True:
            try:
                asked = change(settings)
                return asked, check(asked)
            except (SettingsError, InputError) as exc:
                if self.non_interactive:
                    raise
                self.screen.say(Text(str(exc), style="bold red"))
