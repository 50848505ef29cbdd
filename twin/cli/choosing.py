"""Which contact somebody means."""

from __future__ import annotations

from collections.abc import Sequence

from twin.errors import InputError
from twin.store.dialogs import Dialog


def find_contact(known: Sequence[Dialog], wanted: str) -> Dialog:
    """By id, @username, or name (a part is enough if it fits one only). Raises InputError."""
    if wanted.lstrip("-").isdecimal():
        found = [dialog for dialog in known if dialog.dialog_id == int(wanted)]
    elif wanted.startswith("@"):
        found = [dialog for dialog in known if (dialog.username or "").casefold() == wanted[1:].casefold()]
    else:
        name = wanted.casefold()
        found = [dialog for dialog in known if dialog.name.casefold() == name]
        found = found or [dialog for dialog in known if name and name in dialog.name.casefold()]
    if not found:
        raise InputError(f"No contact is {wanted!r}.", mend="`twin contacts` lists them; id, @username and name all work.")
    if len(found) > 1:
        raise InputError(
            f"{wanted!r} fits {len(found)} contacts.", mend=f"Take the id: {', '.join(str(dialog.dialog_id) for dialog in found[:8])}."
        )
    return found[0]
