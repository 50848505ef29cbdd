"""Which contact somebody means, and how contacts of one name are told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from twin.names import NO_NAME, folded, named
from twin.store import dialogs
from twin.store.dialogs import Dialog


def matching(known: Sequence[Dialog], wanted: str, strangers: Collection[int]) -> list[Dialog]:
    """By id, @username, or name; more than one where it has to be asked which.

    Strangers, who have written to the bot only, can call themselves as they like: one of them is found by name only where no contact
    of the account is. Among equals the whole name comes before a part of one.
    """
    wanted = wanted.strip()
    if wanted.startswith("@"):
        return [dialog for dialog in known if (dialog.username or "").casefold() == wanted[1:].casefold()]
    if wanted.lstrip("-").isdecimal() and (by_id := [dialog for dialog in known if dialog.dialog_id == int(wanted)]):
        return by_id
    name = folded(wanted)
    if not name:
        return []
    own = [dialog for dialog in known if dialog.dialog_id not in strangers]
    for some in (own, [dialog for dialog in known if dialog.dialog_id in strangers]):
        found = [dialog for dialog in some if folded(dialog.name or NO_NAME) == name]
        found = found or [dialog for dialog in some if name in folded(dialog.name)]
        if found:
            return found
    return []


def is_whole(dialog: Dialog, wanted: str) -> bool:
    """Whether this is all of an id, a @username or a name, and not a part of a name."""
    wanted = wanted.strip()
    return wanted.startswith("@") or wanted == str(dialog.dialog_id) or folded(wanted) == folded(dialog.name or NO_NAME)


def labels(known: Sequence[Dialog], *, limit: int = 64) -> Mapping[int, str]:
    """dialog id -> what a person reads of it; no two alike."""
    names = Counter(folded(dialog.name) for dialog in known)
    handles = Counter(dialog.username for dialog in known)  # one that was given up may be another one's by now
    once = [dialog if handles[dialog.username] == 1 else dialog._replace(username=None) for dialog in known]
    return {dialog.dialog_id: _label(dialog, is_shared=names[folded(dialog.name)] > 1, limit=limit) for dialog in once}


def apart(contacts: Iterable[tuple[int, str]]) -> Mapping[int, str]:
    """The same of dialog ids and names alone, as a dataset has them."""
    return labels([Dialog(dialog_id, name, None, None, 0, False, None, None, None) for dialog_id, name in contacts])


async def label(connection: AsyncConnection, dialog_id: int) -> str:
    """The same of one dialog, without reading all the others."""
    dialog = await dialogs.get(connection, dialog_id)
    if dialog is None:
        return NO_NAME
    return _label(dialog, is_shared=await dialogs.shares_name(connection, dialog))


def told_apart(found: Sequence[Dialog], most: int = 8) -> str:
    """For a question which of them is meant: "Anna (@anna_b, 11), Anna (12)"."""
    shown = [
        f"{dialog.name or NO_NAME} ({f'@{dialog.username}, ' if dialog.username else ''}{dialog.dialog_id})" for dialog in found[:most]
    ]
    more = [f"and {len(found) - most} more"] if len(found) > most else []
    return ", ".join(shown + more)


def _label(dialog: Dialog, *, is_shared: bool, limit: int = 64) -> str:
    return named(dialog.name, username=dialog.username, dialog_id=dialog.dialog_id, is_shared=is_shared, limit=limit)
