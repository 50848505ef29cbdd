"""One training at a time on one graphics card, whoever's data folder it is for.

The lock is a file of the machine, named after the card, that the kernel frees with the process that holds it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twin.progress import Progress, silent

LOOK_SECONDS = 0.5
ASK_SECONDS = 20.0
# Of the machine and not of one session ($XDG_RUNTIME_DIR): accounts share a card, and cron has no session.
FOLDER = Path("/run/lock")


@contextmanager
def one_card(progress: Progress = silent, *, folder: Path | None = None) -> Iterator[None]:
    """Hold the card that torch uses by default, waiting for it if need be; without a card there is nothing to hold."""
    card = used_card()
    if card is None:
        yield
        return
    descriptor = _open((folder or _folder()) / f"telegram-twin-{card}.lock")
    try:
        while not _take(descriptor):
            progress(0, None, "waiting for the GPU: another training uses it")
            time.sleep(LOOK_SECONDS)
        yield
    finally:
        os.close(descriptor)


def used_card() -> str | None:
    """The id of the first card that CUDA may use here, None without one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    wanted = "0" if visible is None else visible.split(",")[0].strip()
    tool = shutil.which("nvidia-smi")
    if tool is None or wanted in ("", "-1"):
        return None
    if wanted.startswith("MIG-"):
        return wanted
    asked = [tool, "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        listed = subprocess.run(asked, capture_output=True, text=True, timeout=ASK_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None  # a driver that does not answer: torch finds no card either
    cards = dict(line.split(", ", 1) for line in listed.splitlines() if ", " in line)
    if wanted.startswith("GPU-"):
        return next((card for card in cards.values() if card.startswith(wanted)), None)
    return cards.get(wanted)


def _folder() -> Path:
    return FOLDER if os.access(FOLDER, os.W_OK) else Path(tempfile.gettempdir())


def _open(path: Path) -> int:
    """Readable is enough to lock it, so that every account can; in /tmp the kernel lets nobody else open it to write."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return os.open(path, os.O_RDONLY)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
