"""Foreign errors that anybody's machine can have, as sentences: a full disk, a locked store, a folder that may not be written.

Most errors are mapped where they arise, as `twin.errors` says. These can arise at every file and every statement; whoever stands at a
program's last border asks here, and only what is not foreseen is called unexpected.
"""

from __future__ import annotations

import errno
import sqlite3
import sys
from pathlib import Path

from twin.errors import InputError, StoreError, TwinError

LOCKED = "Stop the other `twin` or whatever has it open, then try again."
ROOM = "Make room there, then try again: what is done is kept."
OURS = "Make it yours: `ls -ld` shows whose it is. Or name another data folder with --data."

# SQLite's words for what is nobody's mistake here: (what they contain, what is said of the file, the mend).
STORE = (
    ("locked", "is locked by another program", LOCKED),
    ("disk is full", "cannot grow: the disk is full", ROOM),
    ("readonly", "may not be written", OURS),
    ("unable to open", "cannot be opened", OURS),
    ("disk i/o", "cannot be read or written: the disk reports a fault", "Look at the disk, then restore the store from a backup."),
    ("not a database", "is not a usable database", "Restore it from a backup, or name another data folder."),
    ("malformed", "is not a usable database", "Restore it from a backup, or name another data folder."),
)
FILES = {
    errno.ENOSPC: ("cannot be written: the disk is full", ROOM),
    errno.EDQUOT: ("cannot be written: the disk quota is used up", ROOM),
    errno.EFBIG: ("cannot be written: it would be too large here", ROOM),
    errno.EACCES: ("may not be read or written by you", OURS),
    errno.EPERM: ("may not be read or written by you", OURS),
    errno.EROFS: ("is on a disk that may only be read", "Name a data folder elsewhere with --data."),
    errno.EISDIR: ("is a folder; expected a file", "Move it away."),
    errno.ENOTDIR: ("is not inside a folder: a file is in the way", "Move that file away, or name another data folder with --data."),
    errno.EEXIST: ("is in the way: expected a folder", "Move it away, or name another data folder with --data."),
    errno.ENOENT: ("is missing", "Put it back, or name another path."),
    errno.ENAMETOOLONG: ("has too long a name", "Name a shorter path."),
    errno.ELOOP: ("is a link that leads to itself", "Name the real path."),
    errno.EIO: ("cannot be read or written: the disk reports a fault", "Look at the disk."),
}
MACHINE = {
    errno.EMFILE: ("Too many files are open.", "Allow more with `ulimit -n 4096`, then try again."),
    errno.ENFILE: ("This machine has too many files open.", "Stop what else runs here, then try again."),
    errno.ENOMEM: ("The memory of this machine is used up.", "Stop what else runs here, then try again."),
    errno.EADDRINUSE: ("Another program listens on that port.", "Stop it, or name another --port."),
}


def foreseen(error: BaseException, data: Path) -> TwinError | None:
    """The sentence for an error; None if nobody could foresee it. `data` is the folder that it is about if it names no file."""
    if isinstance(error, TwinError):
        return error
    if isinstance(error, BaseExceptionGroup):
        known = [foreseen(one, data) for one in error.exceptions]
        return known[0] if all(known) else None
    original = getattr(error, "orig", None) or error  # SQLAlchemy's errors have SQLite's in them
    if isinstance(original, sqlite3.Error):
        return of_store(original, data / "twin.sqlite")
    if isinstance(error, MemoryError):
        what, mend = MACHINE[errno.ENOMEM]
        return TwinError(what, mend=mend)
    if isinstance(error, UnicodeEncodeError) and error.encoding == sys.getfilesystemencoding() != "utf-8":
        return InputError(f"{error.object} cannot be a file's name in this locale, which is {error.encoding}.", mend="Set LANG=C.UTF-8.")
    return _of_file(error, data) if isinstance(error, OSError) else None


def of_store(error: BaseException, path: Path) -> StoreError | None:
    words = str(error).casefold()
    for part, what, mend in STORE:
        if part in words:
            return StoreError(f"{path} {what}.", mend=mend)
    return None


def _of_file(error: OSError, data: Path) -> TwinError | None:
    number = error.errno or 0
    if number in MACHINE:
        what, mend = MACHINE[number]
        return TwinError(what, mend=mend)
    if number not in FILES or (error.filename is None and number not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)):
        return None
    what, mend = FILES[number]
    named = error.filename if error.filename is not None and not isinstance(error.filename, int) else data
    name = named.decode(errors="replace") if isinstance(named, bytes) else str(named)
    return InputError(f"{name} {what}.", mend=mend)
