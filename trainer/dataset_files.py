"""The dataset's folder while it is being built: written as a stream, hashed on the way, renamed when whole."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from trainer.dataset_parts import Part
from trainer.verdicts import SPLITS

SUFFIX = ".building"


class Building:
    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._path = path
        self._files = {split: stack.enter_context((path / f"{split}.jsonl").open("wb")) for split in SPLITS}
        self._hashes = {split: hashlib.sha256() for split in SPLITS}

    def add(self, part: Part) -> None:
        for split, lines in part.lines.items():
            self._files[split].write(lines)
            self._hashes[split].update(lines)

    def hashes(self) -> dict[str, str]:
        return {f"{split}.jsonl": found.hexdigest() for split, found in self._hashes.items()}

    def seal(self, path: Path, report: str, manifest: bytes) -> None:
        """Add report and manifest and give the folder its name. What a crash left there, without a manifest, goes."""
        for file in self._files.values():
            file.close()
        (self._path / "report.json").write_text(report, encoding="utf-8")
        (self._path / "manifest.json").write_bytes(manifest)
        shutil.rmtree(path, ignore_errors=True)
        self._path.rename(path)


@contextmanager
def building(out: Path) -> Iterator[Building]:
    """A new folder in `out`, readable by its owner alone; if it is not sealed, it goes. Folders of builds that died go first:
    a build that lives holds a lock on its own."""
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as stack:
        with _locked(out):
            for left in out.glob(f"*{SUFFIX}"):
                with ExitStack() as attempt:
                    if attempt.enter_context(_locked(left, wait=False)):
                        shutil.rmtree(left, ignore_errors=True)
            path = Path(tempfile.mkdtemp(suffix=SUFFIX, dir=out))
            stack.callback(shutil.rmtree, path, ignore_errors=True)
            stack.enter_context(_locked(path))
        yield Building(path, stack)


@contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Whether the lock on the folder is held here; with `wait` it always is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        except BlockingIOError:
            held = False
        yield held
    finally:
        os.close(descriptor)
