"""What an import takes and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twin.errors import InputError

EXPORT_MEND = "In Telegram Desktop: Settings > Advanced > Export Telegram data, format JSON."


@dataclass(frozen=True)
class Fault:
    """Messages that could not be read for one reason, and the place of the first."""

    count: int
    first: str


@dataclass(frozen=True)
class ImportReport:
    """`messages` were read, `new_messages` of them were not in the store yet; `by_dialog` counts the read ones.

    `skipped_dialogs` by kind ("bot_chat", "private_group", "excluded", ...), `skipped_messages` by reason: those that
    exports hold nothing of. `faults` are what should have been readable; `broken_off` says why reading ended early.
    """

    path: Path
    owner_id: int | None
    messages: int
    new_messages: int
    by_dialog: Mapping[int, int]
    skipped_dialogs: Mapping[str, int]
    skipped_messages: Mapping[str, int]
    faults: Mapping[str, Fault]
    notes: tuple[str, ...]
    broken_off: str | None

    @property
    def complete(self) -> bool:
        """Whether all that the file holds was read."""
        return not self.faults and self.broken_off is None


def find_export(path: Path) -> Path:
    """The result.json that `path` names. Raises InputError."""
    if path.is_file():
        return path
    if not path.exists():
        raise InputError(f"{path} does not exist.", mend=f"Name a result.json or the folder that holds it. {EXPORT_MEND}")
    file = path / "result.json"
    if file.is_file():
        return file
    if any(path.glob("messages*.html")) or (path / "export_results.html").exists():
        raise InputError(f"{path} holds an export in HTML; expected result.json.", mend=EXPORT_MEND)
    raise InputError(f"{path} holds no result.json.", mend=EXPORT_MEND)
