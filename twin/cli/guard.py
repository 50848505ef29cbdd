"""The last border: whatever a command raises becomes a sentence and an exit code, never a traceback.

done 0 · TwinError, and what twin.foreseen knows, 1 · anything unexpected 1, with its frames in the log · wrong usage 2 (Typer's) ·
Ctrl-C 130
"""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer
from rich.text import Text

from twin.cli.border import argument
from twin.cli.logs import frames, log_to, place
from twin.cli.terminal import Screen
from twin.errors import TwinError
from twin.foreseen import foreseen

Command = TypeVar("Command", bound=Callable[..., Any])

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def guarded(command: Command) -> Command:
    """Decorate every command with it: errors as above, and the log goes to the data folder."""

    @functools.wraps(command)
    def call(**options: Any) -> Any:
        data = Path(options.get("data") or os.environ.get("TWIN_DATA") or "data")
        screen = Screen(as_json=bool(options.get("as_json") or options.get("script")))
        # Not those that may be paths, which are named by their bytes.
        words = {name: argument(given) for name, given in options.items() if isinstance(given, str) and name != "name"}
        try:
            return command(**{**options, **words})
        except TwinError as exc:
            if options.get("debug"):
                traceback.print_exc()
            _tell(screen, exc.what, exc.mend)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            screen.say("\nStopped.")
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has gone; so do we
            raise typer.Exit(1) from None
        except Exception as exc:  # noqa: BLE001 - the last border: a person gets a sentence, the log gets the frames
            if options.get("debug"):
                traceback.print_exc()
            if known := foreseen(exc, _data(options.get("data"))):
                _tell(screen, known.what, known.mend)
                raise typer.Exit(1) from None
            _tell(screen, f"Unexpected: {type(exc).__name__} at {place(exc)}.", _keep(exc, data))
            raise typer.Exit(1) from None

    return call  # type: ignore[return-value]


def _data(given: Path | None) -> Path:
    """The data folder in use, as far as settings can be read."""
    from twin.settings import load_settings

    try:
        return given or load_settings().data
    except (TwinError, OSError):
        return Path("data")


def _keep(error: Exception, data: Path) -> str:
    """Write the frames to the log; returns where to look."""
    import structlog

    try:
        path = log_to(data)
        structlog.get_logger().error("command.crashed", error=type(error).__name__, traceback=frames(error))
    except OSError:
        return "--debug shows where it came from."
    return f"{path} has the traceback (without anybody's words); --debug shows it here."


def _tell(screen: Screen, what: str, mend: str) -> None:
    screen.err.print(Text(what, style="bold red"), soft_wrap=True)
    if mend:
        screen.err.print(Text(mend), soft_wrap=True)
    screen.result({"error": what, "mend": mend})
