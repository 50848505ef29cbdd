"""The one place through which datasets and adapters travel to and from the GPU hosts: an fsspec URL (file:///..., s3://...).

    files/<sha256>           content, each kept once: what is there already is not sent again
    folders/<digest>.json    {"files": {path: {"sha256", "bytes"}}}, written after its files: what it names is whole
    documents/<name>.json    small results and notes, each written in one step

What comes back is compared with its sums and appears under its name whole or not at all. The content is private chats: one
URL belongs to one twin, and `sweep` removes what the twin does not use any more.

Other hosts write there, so nothing of it is trusted: names, sums and sizes pass `checked_listing`, `checked_sum` and `_path` before
anything is read, written or removed by them, and in a folder no link is followed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from twin.errors import SettingsError, StoreError
from twin.progress import Progress, silent

MEND = "Check TWIN_TRAINER__STORAGE, and that this host may read and write there."
STRANGER = "Somebody else writes there: empty it, see who may write to it, and run it again."
KINDS = ("folders", "documents", "files")
SUM = re.compile(r"[0-9a-f]{64}")
MOST_FILES, LONGEST_NAME, DEEPEST = 10_000, 200, 8  # of a folder; bytes of a part of a name; parts of a name
LARGEST_DOCUMENT = 64 * 2**20  # bytes
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

    def pull(self, digest: str, target: Path, progress: Progress = silent) -> Path:
        """Fetch into the new folder `target`; nothing is done if that is there."""
        if target.exists():
            return target
        building = target.with_name(f".{target.name}.{os.getpid()}.part")
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True, mode=0o700)
        try:
            listing = self._listing(digest)
            total, done = sum(row["bytes"] for row in listing.values()), 0
            if total > (free := shutil.disk_usage(building).free):
                raise StoreError(f"{target.name} has {total:,} bytes, and {free:,} are free here.", mend=f"Make room in {target.parent}.")
            for name, row in listing.items():
                self._get(row["sha256"], row["bytes"], building / name)
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
        """The document of this name, None if there is none. Its content is whatever the other host wrote. Raises Damaged."""
        with self._reaching():
            content = self._cat(self._path("documents", f"{name}.json"))
        return None if content is None else self._parsed(content)

    def _kept(self, name: str) -> str | None:
        """The digest of the folder that the name stands for. Raises Damaged if the document says something else."""
        document = self.read(name)
        if document is None:
            return None
        return checked_sum(document.get("folder") if isinstance(document, dict) else None)

    def remove(self, name: str) -> None:
        with self._reaching():
            self._rm(self._path("documents", f"{name}.json"))

    def keep(self, name: str, folder: Path) -> None:
        """Let the name stand for the folder as it is now; what it stood for before is removed."""
        try:
            before = self._kept(name)
        except Damaged:
            before = None  # written anew
        now = self.push(folder)
        self.write(name, {"folder": now})
        if before is not None and before != now:
            self._drop(before, self._listing(now))

    def recall(self, name: str, target: Path) -> Path | None:
        """What the name stands for, in the new folder `target`; None if it stands for nothing."""
        kept = self._kept(name)
        return None if kept is None else self.pull(kept, target)

    def forget(self, name: str) -> None:
        """Remove the name and what it stands for."""
        try:
            kept = self._kept(name)
        except Damaged:
            kept = None
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
                if known := self._kept(name):
                    listings[known] = self._listing(known)
                    kept.add(self._path("documents", f"{name}.json"))
            except Damaged:
                continue
        for digest, listing in listings.items():
            kept |= {self._path("folders", f"{digest}.json"), *(self._path("files", row["sha256"]) for row in listing.values())}
        with self._reaching():
            for kind in KINDS:
                for name in self._names(kind):
                    if (path := self._path(kind, name)) not in kept:
                        self._rm(path)

    def check(self) -> None:
        """Write, read and remove a document."""
        name = f"check-{secrets.token_hex(4)}"
        self.write(name, name)
        if self.read(name) != name:
            raise StoreError(f"The storage {self.url} does not give back what was written.", mend=MEND)
        self.remove(name)

    # --- single files -------------------------------------------------------------------------------------------------

    def _path(self, kind: str, name: str) -> str:
        """Every path that is read, written or removed is made here: one name in one folder of the storage, and that no link."""
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise Damaged(f"The storage {self.url} names something outside itself.", mend=STRANGER)
        if self._is_folder and Path(self._root, kind).is_symlink():
            raise StoreError(f"In the storage {self.url}, {kind} is a link to another place.", mend=STRANGER)
        return f"{self._root}/{kind}/{name}"

    def _names(self, kind: str) -> list[str]:
        """Of the files there; a link is one, and what it leads to is not."""
        top = self._path(kind, "x").removesuffix("/x")
        if self._is_folder:
            return [entry.name for entry in os.scandir(top) if not entry.is_dir(follow_symlinks=False)] if os.path.isdir(top) else []
        try:
            rows = self._fs.ls(top, detail=True)
        except FileNotFoundError:
            return []
        return [name for row in rows if row["type"] == "file" and (name := PurePosixPath(row["name"]).name)]

    def _size(self, path: str) -> int | None:
        """None if there is no such file; of something else than a plain file in a folder, too."""
        try:
            if not self._is_folder:
                return int(self._fs.info(path)["size"])
            found = os.lstat(path)
            return found.st_size if stat.S_ISREG(found.st_mode) else None
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
        with part.open("xb") as file:
            file.write(content)
        os.replace(part, target)

    def _part(self, target: str) -> Path:
        Path(self._root).mkdir(parents=True, exist_ok=True, mode=0o700)
        Path(target).parent.mkdir(exist_ok=True)
        return Path(f"{target}.{secrets.token_hex(4)}.part")

    def _cat(self, path: str) -> bytes | None:
        size = self._size(path)
        if size is None:
            return None
        if size > LARGEST_DOCUMENT:
            raise Damaged(f"The storage {self.url} has a document of {size:,} bytes; {LARGEST_DOCUMENT:,} is the most.", mend=STRANGER)
        try:
            if not self._is_folder:
                return bytes(self._fs.cat_file(path))
            with _open_plain(path) as file:
                return file.read(size)
        except FileNotFoundError:
            return None

    def _rm(self, path: str) -> None:
        try:
            self._fs.rm_file(path)
        except FileNotFoundError:
            return

    def _listing(self, digest: str) -> Listing:
        with self._reaching():
            content = self._cat(self._path("folders", f"{checked_sum(digest)}.json"))
        if content is None or hashlib.sha256(content).hexdigest() != digest:
            raise Damaged(f"{digest[:12]} is not in the storage {self.url}.", mend="Run it again: what is missing is sent anew.")
        return checked_listing(self._parsed(content))

    def _parsed(self, content: bytes) -> Any:
        try:
            return json.loads(content)
        except (ValueError, RecursionError):  # `from None`: the error quotes the content
            raise Damaged(f"A document in the storage {self.url} is no JSON.", mend="Run it again: it is written anew.") from None

    def _get(self, expected: str, size: int, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        source = self._path("files", expected)
        with self._reaching():
            is_there = self._size(source) == size  # else it is not even fetched: it may be larger than the disk
            if is_there and self._is_folder:
                with _open_plain(source) as file, target.open("xb") as copy:
                    left = size
                    while left and (block := file.read(min(left, 2**20))):
                        left -= copy.write(block)
            elif is_there:
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


def checked_sum(value: object) -> str:
    """A SHA-256 in hex, as it names files and folders here. Raises Damaged if it is anything else, such as a path."""
    if not isinstance(value, str) or not SUM.fullmatch(value):
        raise Damaged("The storage names a file by something that is no SHA-256 sum.", mend=STRANGER)
    return value


def checked_listing(document: object) -> Listing:
    """{path: {"sha256", "bytes"}} with paths that stay inside one folder. Raises Damaged if it is anything else."""
    if not isinstance(document, dict) or len(document) > MOST_FILES:
        raise Damaged(f"The storage lists something that is no folder of at most {MOST_FILES:,} files.", mend=STRANGER)
    listing: Listing = {}
    for name, row in document.items():
        size = row.get("bytes") if isinstance(row, dict) else None
        if type(size) is not int or size < 0:
            raise Damaged("The storage lists a file without its size in bytes.", mend=STRANGER)
        if not _stays_inside(name) or any(str(above) in document for above in PurePosixPath(name).parents):
            raise Damaged("The storage names a file outside its folder, or by no plain name.", mend=STRANGER)
        listing[name] = {"sha256": checked_sum(row.get("sha256")), "bytes": size}
    return listing


def _stays_inside(name: str) -> bool:
    parts = name.split("/")
    if len(parts) > DEEPEST or not name.isprintable() or "\\" in name:
        return False
    return all(part not in ("", ".", "..") and len(part.encode()) <= LONGEST_NAME for part in parts)


def _open_plain(path: str) -> BinaryIO:
    """A plain file to read. A link is not followed, and a pipe not waited for: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no plain file")
    return os.fdopen(descriptor, "rb")


def sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(listing: Listing) -> bytes:
    return json.dumps(listing, sort_keys=True, indent=1).encode()
