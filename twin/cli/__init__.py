"""The command line. It is the composition root: only here do the store, the trainer, the engines and the bot meet.

A command is a module of `twin.cli.commands` with a Typer `app`. It is imported when it is called and not before, so that
`twin --help` answers at once although some commands need torch.
"""

from __future__ import annotations

import importlib
import os
import signal
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from twin.cli.border import bordered
from twin.cli.options import Command, Data, Debug, Json, hand_on

COMMANDS = {
    "init": "Ask for what is needed, check each answer against the real service, write .env.",
    "doctor": "Check every part and say how to mend what is red.",
    "import": "Read a Telegram Desktop export into the store.",
    "collect": "Read what is new in the owner's private chats into the store.",
    "contacts": "List the private chats with counts, mode and consent, or show and set those of one contact.",
    "model": "Say what the twin makes of a base model, without loading it.",
    "dataset": "Build the dataset from the chats with consent, and show it.",
    "train": "Train a candidate adapter on the newest dataset.",
    "evaluate": "Compare base, active and candidate on the holdout.",
    "adapters": "List the adapters, promote one, or roll back.",
    "nightly": "Collect, build, train, evaluate and promote: what the scheduler runs.",
    "run": "Run the bot with its scheduler.",
    "serve": "Run a vLLM server for the base model.",
    "chat": "Talk to the twin in the terminal.",
    "forget": "Erase a contact everywhere and say which adapters still carry them.",
    "demo": "Show the whole of it on this machine, with no account.",
}


class Commands(TyperGroup):
    """Lists the commands without importing them; imports the one that is called."""

    def main(self, *args: Any, **more: Any) -> Any:
        with bordered():
            return super().main(*args, **more)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(str(name)), rest


def load(name: str) -> Any:
    """The real command `name`."""
    module = importlib.import_module(f"twin.cli.commands.{'import_' if name == 'import' else name}")
    (info,) = module.app.registered_commands
    info.cls = Command
    command = typer.main.get_command(module.app)
    command.name = name
    return command


app = typer.Typer(cls=Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def _twin(ctx: typer.Context, data: Data = None, as_json: Json = False, debug: Debug = False) -> None:
    """A digital twin for Telegram: it learns how its owner writes, and answers with the owner's approval."""
    hand_on(ctx, data=data, as_json=as_json, debug=debug)


def main() -> None:
    # A script's background job ignores Ctrl-C from its start on (POSIX 2.12); this program can be ended however it was started.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Being told to end is like Ctrl-C: whatever was started is stopped, whatever was held is freed.
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    # Threads that spin while they wait make torch ten times slower as soon as another process wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' bars would run through ours
    app(prog_name="twin")
