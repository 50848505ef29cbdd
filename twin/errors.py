"""Errors that reach a person. Foreign errors are mapped to these at the border where they arise.

TwinError
├── SettingsError     a setting is missing or wrong
├── InputError        a file or an answer is not what was expected; names the place
│   └── NothingNew    there is nothing to learn that the active adapter does not know
├── TelegramError     Telegram refused, or cannot be reached
│   ├── SessionError  the owner's session is missing or was revoked
│   ├── FloodError    Telegram asks to wait; `seconds` says how long
│   └── UndecodableError  it sent something that the library cannot read; `library` names it and its version
├── StoreError        the database is newer, broken or locked
├── ModelError        a model or adapter cannot be used
└── EngineError       text generation failed; `kind` says how
"""

from __future__ import annotations

from typing import Literal


class TwinError(Exception):
    """What went wrong, in one sentence, and `mend`: what to do about it."""

    def __init__(self, what: str, *, mend: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.what} {self.mend}".strip()


class SettingsError(TwinError): ...


class InputError(TwinError): ...


class NothingNew(InputError): ...


class TelegramError(TwinError): ...


class SessionError(TelegramError): ...


class FloodError(TelegramError):
    def __init__(self, seconds: int, what: str = "") -> None:
        super().__init__(what or f"Telegram asks to wait {seconds} seconds.", mend="The next run goes on from here.")
        self.seconds = seconds


class UndecodableError(TelegramError):
    def __init__(self, what: str, *, library: str, mend: str = "") -> None:
        super().__init__(what, mend=mend)
        self.library = library


class StoreError(TwinError): ...


class ModelError(TwinError): ...


class EngineError(TwinError):
    """`kind`: unreachable (nothing answers), slow (over the time limit), refused (it answered with an error), paused (a training
    has its GPU: no fault, and soon over)."""

    def __init__(self, what: str, *, kind: Literal["unreachable", "slow", "refused", "paused"], mend: str = "") -> None:
        super().__init__(what, mend=mend)
        self.kind = kind
