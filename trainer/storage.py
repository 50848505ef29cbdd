"""The one place through which datasets and adapters travel to and from the GPU hosts: an fsspec URL (file:///..., s3://...).

    files/<sha256>           content, each kept once: what is there already is not sent again
    folders/<digest>.json    {"files": {path: {"sha256", "bytes"}}}, written after its files: what it names is whole
    documents/<name>.json    small results and notes, each written in one step

What comes back is compared with its sums and appears under its name whole or not at all. Whoever can write there, a GPU host say,
may have written anything: a listing is read by `_listing` alone, which takes checksums, sizes and names inside the folder and nothing
else, and nothing is removed through a link. The content is private chats: one URL belongs to one twin, and `sweep` removes what the
twin does not use any more.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twin.errors import SettingsError, StoreError
from twin.progress import Progress, silent

MEND = "Check TWIN_TRAINER__STORAGE, and that this host may read and write there."
FOREIGN = "Empty it: somebody else writes there."
DIGEST = re.compile(r"[0-9a-f]{64}")
LARGEST_LISTING = 16 * 2**20  # bytes; a model of many shards has some kilobytes
Listing = dict[str, dict[str, Any]]


class Damaged(StoreError):
    """What should be there is missing or is not what was sent: asking again does not help, sending again does."""


class Storage:
    """Blocking calls. Raises StoreError if the storage cannot be used or what it holds is damaged."""

    def __init__(self, url: str) -> None:
        """Reaches nothing yet. Raises SettingsError if the URL is none that two hosts can mean the same by."""
        try:
            from fsspec.core import url_to_fs
            from fsspec.implementations.local import LocalFileSystem

            self._fs, root = url_to_fs(url)
        except (ImportError, ValueError) as exc:
            mend = "pip install 'telegram-twin[ray]'; for s3://, s3fs as well."
            raise SettingsError(f"TWIN_TRAINER__STORAGE cannot be used: {exc}.", mend=mend) from exc
        self.url = url
        self._root = root.rstrip("/")
        self._is_folder = isinstance(self._fs, LocalFileSystem)
        if self._is_folder and not url.removeprefix("file://").startswith("/"):
            mend = "Name the folder from its root on: file:///srv/twin. Every host must have it there."
            raise SettingsError(f"TWIN_TRAINER__STORAGE is no absolute path: {url}.", mend=mend)

    def push(self, path: Path, progress: Progress = silent, *, without: Collection[str] = ()) -> str:
        """Send a folder (but not the files named in `without`) or one file; returns the digest by which it is known here."""
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file() and file.name not in without)
        top = path.parent if path.is_file() else path
        listing: Listing = {str(file.relative_to(top).as_posix()): {"sha256": sum_of(file), "bytes": file.stat().st_size} for file in files}
        digest = hashlib.sha256(_json(listing)).hexdigest()
        total, done = sum(row["bytes"] for row in listing.values()), 0
        with self._reaching():
            for file, row in zip(files, listing.values(), strict=True):
                target = self._path("files", row["sha256"])
                if self._size(target) != row["bytes"]:
                    self._put(file, target)
                done += row["bytes"]
                progress(done, total, f"sending {path.name}")
            self._write(self._path("folders", f"{digest}.json"), _json(listing))
        return digest

    def pull(self, digest: object, target: Path, progress: Progress = silent) -> Path:
        """Fetch into the new folder `target`; nothing is done if that is there. `digest` may be anything that came from elsewhere."""
        if target.exists():
            return target
        building = target.with_name(f".{target.name}.{os.getpid()}.part")
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True, mode=0o700)
        try:
            listing = self._listing(digest)
            total, done = sum(row["bytes"] for row in listing.values()), 0
            for name, row in listing.items():
                self._get(row, building / name)
                done += row["bytes"]
                progress(done, total, f"fetching {target.name}")
            try:
                building.rename(target)
            except OSError:
                if not target.exists():  # another process fetched the same meanwhile
                    raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
        return target

    def write(self, name: str, document: Any) -> None:
        with self._reaching():
            self._write(self._path("documents", f"{name}.json"), json.dumps(document, ensure_ascii=False).encode())

    def read(self, name: str) -> Any:
        """The document of this name, None if there is none."""
        with self._reaching():
            content = self._cat(self._path("documents", f"{name}.json"))
        try:
            return None if content is None else json.loads(content)
        except ValueError as exc:
            raise Damaged(f"A document in the storage {self.url} is no JSON.", mend=FOREIGN) from exc

    def _folder_of(self, name: str) -> str | None:
        """The digest of the folder that the name stands for."""
        kept = self.read(name)
        if kept is None:
            return None
        return self._digest(kept.get("folder") if isinstance(kept, dict) else None)

    def _digest(self, given: object) -> str:
        if not isinstance(given, str) or not DIGEST.fullmatch(given):
            raise Damaged(f"The storage {self.url} names something by what is no checksum.", mend=FOREIGN)
        return given

    def remove(self, name: str) -> None:
        with self._reaching():
            self._rm(self._path("documents", f"{name}.json"))

    def keep(self, name: str, folder: Path) -> None:
        """Let the name stand for the folder as it is now; what it stood for before is removed."""
        try:
            before = self._folder_of(name)
        except Damaged:
            before = None  # it is written over
        now = self.push(folder)
        self.write(name, {"folder": now})
        if before is not None and before != now:
            self._drop(before, self._listing(now))

    def recall(self, name: str, target: Path) -> Path | None:
        """What the name stands for, in the new folder `target`; None if it stands for nothing."""
        kept = self._folder_of(name)
        return None if kept is None else self.pull(kept, target)

    def forget(self, name: str) -> None:
        """Remove the name and what it stands for."""
        try:
            kept = self._folder_of(name)
        finally:
            self.remove(name)
        if kept is not None:
            self._drop(kept, {})

    def _drop(self, digest: str, others: Listing) -> None:
        kept = {row["sha256"] for row in others.values()}
        try:
            listing = self._listing(digest)
        except StoreError:
            return  # gone already; `sweep` finds what may be left of it
        with self._reaching():
            self._rm(self._path("folders", f"{digest}.json"))
            for row in listing.values():
                if row["sha256"] not in kept:
                    self._rm(self._path("files", row["sha256"]))

    def sweep(self, *, folders: Collection[str] = (), names: Collection[str] = ()) -> None:
        """Remove everything but these folders and what these names stand for, and a name that stands for nothing whole."""
        listings = {digest: self._listing(digest) for digest in folders}
        kept = set()
        for name in names:
            try:
                known = self._folder_of(name)
                if known is None:
                    continue
                listings[known] = self._listing(known)
            except Damaged:
                continue
            kept.add(self._path("documents", f"{name}.json"))
        for digest, listing in listings.items():
            kept |= {self._path("folders", f"{digest}.json"), *(self._path("files", row["sha256"]) for row in listing.values())}
        with self._reaching():
            for kind in ("folders", "documents", "files"):
                for path in self._fs.find(self._path(kind)):
                    if str(path) not in kept:
                        self._rm(str(path))

    def check(self) -> None:
        """Write, read and remove a document."""
        name = f"check-{secrets.token_hex(4)}"
        self.write(name, name)
        if self.read(name) != name:
            raise StoreError(f"The storage {self.url} does not give back what was written.", mend=MEND)
        self.remove(name)

    # --- single files -------------------------------------------------------------------------------------------------

    def _path(self, *parts: str) -> str:
        return "/".join((self._root, *parts))

    def _size(self, path: str) -> int | None:
        try:
            return int(self._fs.info(path)["size"])
        except FileNotFoundError:
            return None

    def _put(self, source: Path, target: str) -> None:
        """An object store shows a file when it is whole; in a folder it gets its name when it is whole."""
        if not self._is_folder:
            self._fs.put_file(str(source), target)
            return
        part = self._part(target)
        shutil.copyfile(source, part)
        os.replace(part, target)

    def _write(self, target: str, content: bytes) -> None:
        if not self._is_folder:
            self._fs.pipe_file(target, content)
            return
        part = self._part(target)
        part.write_bytes(content)
        os.replace(part, target)

    def _part(self, target: str) -> Path:
        Path(self._root).mkdir(parents=True, exist_ok=True, mode=0o700)
        Path(target).parent.mkdir(exist_ok=True)
        return Path(f"{target}.{secrets.token_hex(4)}.part")

    def _cat(self, path: str) -> bytes | None:
        try:
            return bytes(self._fs.cat_file(path))
        except FileNotFoundError:
            return None

    def _rm(self, path: str) -> None:
        if self._is_folder:
            kind = Path(self._root, Path(path).relative_to(self._root).parts[0])
            if kind.is_symlink() or Path(path).parent.resolve() != Path(self._root).resolve() / Path(path).parent.relative_to(self._root):
                raise StoreError(f"A link in the storage {self.url} leads out of it.", mend=FOREIGN)
        try:
            self._fs.rm_file(path)
        except FileNotFoundError:
            return

    def _listing(self, digest: object) -> Listing:
        path = self._path("folders", f"{self._digest(digest)}.json")
        with self._reaching():
            size = self._size(path)
            content = self._cat(path) if size is not None and size <= LARGEST_LISTING else None
        if content is None or hashlib.sha256(content).hexdigest() != digest:
            raise Damaged(f"{str(digest)[:12]} is not in the storage {self.url}.", mend="Run it again: what is missing is sent anew.")
        listing = _as_listing(content)
        if listing is None:
            raise StoreError(f"The storage {self.url} has a listing that is none: names, checksums and sizes are expected.", mend=FOREIGN)
        if not all(map(_is_inside, listing)):
            raise StoreError(f"The storage {self.url} names a file outside its folder.", mend=FOREIGN)
        return listing

    def _get(self, row: dict[str, Any], target: Path) -> None:
        expected = row["sha256"]
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        source = self._path("files", expected)
        with self._reaching():
            is_there = self._size(source) == row["bytes"]
            if is_there:
                self._fs.get_file(source, str(target))
        if not is_there or sum_of(target) != expected:
            with self._reaching():
                self._rm(source)  # or it would never be sent again
            raise Damaged(f"A file in the storage {self.url} is damaged.", mend="Run it again: the file is sent anew.")

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        self._fs.invalidate_cache()  # others write there too
        botocore = sys.modules.get("botocore.exceptions")  # s3fs lets some of its errors through, such as missing credentials
        foreign = (OSError, botocore.BotoCoreError) if botocore else (OSError,)
        try:
            yield
        except foreign as exc:
            raise StoreError(f"The storage {self.url} cannot be used ({type(exc).__name__}).", mend=MEND) from exc


def _as_listing(content: bytes) -> Listing | None:
    try:
        found = json.loads(content)
    except ValueError:
        return None
    rows = found.values() if isinstance(found, dict) else [None]
    return found if all(map(_is_row, rows)) else None


def _is_row(row: object) -> bool:
    if not isinstance(row, dict) or row.keys() != {"sha256", "bytes"}:
        return False
    checksum, size = row["sha256"], row["bytes"]
    return isinstance(checksum, str) and bool(DIGEST.fullmatch(checksum)) and type(size) is int and size >= 0


def _is_inside(name: str) -> bool:
    """Whether it names a file below the folder that it is joined to, on any system."""
    parts = name.split("/")
    return not any(part in ("", ".", "..") or "\\" in part or ":" in part or "\0" in part for part in parts)


def sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(listing: Listing) -> bytes:
    return json.dumps(listing, sort_keys=True, indent=1).encode()
