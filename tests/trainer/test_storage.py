"""What travels through the storage arrives whole or not at all, and nothing travels twice."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.storage import Damaged, Storage
from twin.errors import SettingsError, StoreError


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder, and a store of objects without folders."""
    yield (tmp_path / "storage").as_uri() if request.param == "file" else f"memory://{tmp_path.name}"
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights").write_bytes(os.urandom(5000))
    (folder / "deep" / "config").write_bytes(b"{}")
    (folder / "manifest.json").write_bytes(b'{"name": "adapter"}')
    return folder


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_arrives_as_it_was_sent(url: str, adapter: Path, tmp_path: Path) -> None:
    digest = Storage(url).push(adapter)
    told: list[tuple[float, float | None]] = []
    got = Storage(url).pull(digest, tmp_path / "got", lambda done, total, note="": told.append((done, total)))
    assert content_of(got) == content_of(adapter)
    assert told[-1] == (5021, 5021)
    assert (got.stat().st_mode & 0o777) == 0o700
    assert Storage(url).pull(digest, tmp_path / "got") == got


def test_one_file_arrives_under_its_name_and_a_left_out_file_stays(url: str, adapter: Path, tmp_path: Path) -> None:
    storage = Storage(url)
    assert content_of(storage.pull(storage.push(adapter / "weights"), tmp_path / "one")) == {"weights": (adapter / "weights").read_bytes()}
    got = storage.pull(storage.push(adapter, without=("weights",)), tmp_path / "two")
    assert sorted(content_of(got)) == ["deep/config", "manifest.json"]


def test_what_is_there_is_not_sent_again(tmp_path: Path, adapter: Path) -> None:
    storage = Storage((tmp_path / "storage").as_uri())
    digest = storage.push(adapter)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "storage" / "files").iterdir()}
    (adapter / "deep" / "config").write_bytes(b"{1}")
    assert storage.push(adapter) != digest
    now = {path: path.stat().st_mtime_ns for path in (tmp_path / "storage" / "files").iterdir()}
    assert {path: now[path] for path in written} == written
    assert len(now) == len(written) + 1


def test_a_damaged_file_is_refused_and_sent_anew(tmp_path: Path, adapter: Path) -> None:
    storage = Storage((tmp_path / "storage").as_uri())
    digest = storage.push(adapter)
    [weights] = [path for path in (tmp_path / "storage" / "files").iterdir() if path.stat().st_size == 5000]
    weights.write_bytes(b"x" * 5000)
    with pytest.raises(Damaged, match="damaged"):
        storage.pull(digest, tmp_path / "got")
    with pytest.raises(Damaged, match="damaged"):
        storage.pull(digest, tmp_path / "got")  # now it is missing
    assert [path.name for path in tmp_path.iterdir() if "got" in path.name] == []
    assert storage.push(adapter) == digest
    assert content_of(storage.pull(digest, tmp_path / "got")) == content_of(adapter)


def test_a_listing_that_leads_outside_is_refused(tmp_path: Path, adapter: Path) -> None:

    storage = Storage((tmp_path / "storage").as_uri())
    storage.push(adapter)
    evil = json.dumps({"../../evil": {"sha256": "0" * 64, "bytes": 1}}).encode()
    digest = hashlib.sha256(evil).hexdigest()
    (tmp_path / "storage" / "folders" / f"{digest}.json").write_bytes(evil)
    with pytest.raises(StoreError, match="outside"):
        storage.pull(digest, tmp_path / "got")


NO_SUM = "0" * 64
FORGED = [
    {"../evil": {"sha256": NO_SUM, "bytes": 1}},
    {"/evil": {"sha256": NO_SUM, "bytes": 1}},
    {"a/../../evil": {"sha256": NO_SUM, "bytes": 1}},
    {"a\\..\\evil": {"sha256": NO_SUM, "bytes": 1}},
    {"C:evil": {"sha256": NO_SUM, "bytes": 1}},
    {"": {"sha256": NO_SUM, "bytes": 1}},
    {"a//b": {"sha256": NO_SUM, "bytes": 1}},
    {"a": {"sha256": "../../precious", "bytes": 1}},
    {"a": {"sha256": "/precious", "bytes": 1}},
    {"a": {"sha256": NO_SUM.upper().replace("0", "A"), "bytes": 1}},
    {"a": {"sha256": NO_SUM + "\n", "bytes": 1}},
    {"a": {"sha256": 7, "bytes": 1}},
    {"a": {"sha256": NO_SUM, "bytes": -1}},
    {"a": {"sha256": NO_SUM, "bytes": "1"}},
    {"a": {"sha256": NO_SUM, "bytes": True}},
    {"a": {"sha256": NO_SUM}},
    {"a": {"sha256": NO_SUM, "bytes": 1, "link": "/"}},
    {"a": None},
    ["a"],
    "a",
    None,
]


@pytest.mark.parametrize("forged", FORGED, ids=json.dumps)
def test_a_listing_that_somebody_else_wrote_reads_writes_and_removes_nothing_outside(tmp_path: Path, adapter: Path, forged: object) -> None:
    """A GPU host can write there what it likes, with a checksum that is right."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    storage = Storage((tmp_path / "storage").as_uri())
    storage.keep("checkpoint", adapter)
    content = json.dumps(forged).encode()
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "storage" / "folders" / f"{digest}.json").write_bytes(content)
    storage.write("checkpoint", {"folder": digest})
    with pytest.raises(StoreError):
        storage.pull(digest, tmp_path / "fetched")
    with pytest.raises(StoreError):
        storage.recall("checkpoint", tmp_path / "recalled")
    storage.forget("checkpoint")
    storage.write("checkpoint", {"folder": digest})
    storage.keep("checkpoint", adapter)
    assert storage.recall("checkpoint", tmp_path / "again")
    assert precious.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "again", "precious", "storage"]


PUSHING = """
import sys
from pathlib import Path
from trainer.storage import Storage
print("ready", flush=True)
Storage(sys.argv[1]).push(Path(sys.argv[2]))
"""


def test_a_killed_upload_is_never_read_as_whole(tmp_path: Path) -> None:
    """Killed at different points of sending; each next one completes it."""
    folder, root = tmp_path / "adapter", tmp_path / "storage"
    folder.mkdir()
    for i in range(30):
        (folder / f"part-{i}").write_bytes(os.urandom(200_000))
    for files in (1, 5, 12, 29):
        process = subprocess.Popen([sys.executable, "-c", PUSHING, root.as_uri(), str(folder)], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        process.stdout.readline()
        while process.poll() is None and (not root.exists() or sum(1 for _ in root.glob("files/*")) < files):
            time.sleep(0.001)
        process.kill()
        process.communicate()
        whole = [path for path in root.glob("folders/*") if path.suffix == ".json"]
        for listing in whole:
            Storage(root.as_uri()).pull(listing.stem, tmp_path / f"got-{files}")
    storage = Storage(root.as_uri())
    digest = storage.push(folder)
    assert content_of(storage.pull(digest, tmp_path / "got")) == content_of(folder)
    storage.sweep(folders=[digest])
    assert not list(root.glob("files/*.part"))


def test_documents_are_written_read_and_removed(url: str) -> None:
    storage = Storage(url)
    assert storage.read("note") is None
    storage.write("note", {"said": "й"})
    assert Storage(url).read("note") == {"said": "й"}
    storage.remove("note")
    storage.remove("note")
    assert storage.read("note") is None
    storage.check()


def test_a_name_stands_for_the_newest_folder_alone(url: str, adapter: Path, tmp_path: Path) -> None:
    storage = Storage(url)
    assert storage.recall("checkpoint", tmp_path / "none") is None
    storage.keep("checkpoint", adapter)
    before = storage.read("checkpoint")["folder"]
    (adapter / "weights").write_bytes(os.urandom(5000))
    storage.keep("checkpoint", adapter)
    got = storage.recall("checkpoint", tmp_path / "got")
    assert got
    assert content_of(got) == content_of(adapter)
    with pytest.raises(StoreError):
        storage.pull(before, tmp_path / "before")
    storage.forget("checkpoint")
    storage.forget("checkpoint")
    assert storage.read("checkpoint") is None


def test_sweeping_keeps_what_is_named_and_what_it_needs(url: str, adapter: Path, tmp_path: Path) -> None:
    storage = Storage(url)
    old = storage.push(adapter)
    (adapter / "deep" / "config").write_bytes(b"other")
    new = storage.push(adapter)
    (adapter / "weights").write_bytes(b"half way")
    storage.keep("checkpoint", adapter)
    storage.write("gone", 1)
    storage.sweep(folders=[new], names=["checkpoint", "unknown"])
    assert (storage.pull(new, tmp_path / "new") / "deep" / "config").read_bytes() == b"other"
    assert storage.recall("checkpoint", tmp_path / "checkpoint")
    assert storage.read("gone") is None
    with pytest.raises(StoreError, match="is not in the storage"):
        storage.pull(old, tmp_path / "old")
    storage.sweep()
    with pytest.raises(StoreError):
        storage.pull(new, tmp_path / "again")


def test_a_name_whose_folder_is_gone_is_swept_away(tmp_path: Path, adapter: Path) -> None:
    """A damaged checkpoint must not keep the next training from starting."""
    root = tmp_path / "storage"
    storage = Storage(root.as_uri())
    storage.keep("checkpoint", adapter)
    for listing in (root / "folders").iterdir():
        listing.unlink()
    storage.sweep(names=["checkpoint"])
    assert storage.recall("checkpoint", tmp_path / "got") is None
    assert not [path for path in root.rglob("*") if path.is_file()]


def test_a_new_storage_folder_is_private(tmp_path: Path, adapter: Path) -> None:
    Storage((tmp_path / "storage").as_uri()).push(adapter)
    assert (tmp_path / "storage").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("url", ["storage", "file://storage", "./storage", "~/storage"])
def test_a_folder_that_means_something_else_on_another_host_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="no absolute path"):
        Storage(url)


def test_a_storage_that_cannot_be_used_says_so(tmp_path: Path, adapter: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be used"):
        Storage("nonsense://somewhere")
    (tmp_path / "file").write_text("in the way")
    storage = Storage((tmp_path / "file" / "storage").as_uri())
    with pytest.raises(StoreError, match="cannot be used"):
        storage.push(adapter)
    with pytest.raises(StoreError, match="cannot be used"):
        storage.check()


# --- other hosts write there: nothing of it is trusted ----------------------------------------------------------------


def forged(root: Path, listing: object) -> str:
    """Put a listing into the storage as somebody who may write there can; returns its digest, which is right."""
    content = listing if isinstance(listing, bytes) else json.dumps(listing).encode()
    digest = hashlib.sha256(content).hexdigest()
    (root / "folders").mkdir(parents=True, exist_ok=True)
    (root / "folders" / f"{digest}.json").write_bytes(content)
    return digest


OK = {"sha256": "0" * 64, "bytes": 1}
FORGED = {
    "a relative path for a sum": {"a": OK | {"sha256": "../../precious"}},
    "an absolute path for a sum": {"a": OK | {"sha256": "/PRECIOUS"}},
    "a sum in capitals": {"a": OK | {"sha256": "A" * 64}},
    "a sum with a line's end": {"a": OK | {"sha256": "0" * 64 + "\n"}},
    "no sum": {"a": {"bytes": 1}},
    "a sum that is a list": {"a": OK | {"sha256": ["0" * 64]}},
    "a size below nothing": {"a": OK | {"bytes": -1}},
    "a size that is text": {"a": OK | {"bytes": "1"}},
    "a size that is no number": {"a": OK | {"bytes": True}},
    "more bytes than any disk has": {"a": OK | {"bytes": 2**62}},
    "an absolute name": {"/PRECIOUS": OK},
    "a name that climbs": {"a/../../precious": OK},
    "an empty name": {"": OK},
    "the folder itself": {".": OK},
    "an empty part": {"a//b": OK},
    "a null in a name": {"a\0b": OK},
    "an escape in a name": {"a\x1b[2J": OK},
    "a backslash": {"..\\a": OK},
    "a name too long": {"a" * 300: OK},
    "a file that is a folder too": {"a": OK, "a/b": OK},
    "a list": [OK],
    "a row that is a path": {"a": "../../precious"},
    "no JSON": b"\xff{",
    "nested without end": b"[" * 100_000,
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_listing_is_refused_in_words_and_removes_nothing(case: str, tmp_path: Path, adapter: Path) -> None:
    root, precious = tmp_path / "storage", tmp_path / "precious"
    precious.write_bytes(b"kept")
    storage = Storage(root.as_uri())
    storage.push(adapter)
    listing = FORGED[case]
    if isinstance(listing, dict):
        listing = json.loads(json.dumps(listing).replace("/PRECIOUS", str(precious)))
    digest = forged(root, listing)
    with pytest.raises(StoreError):
        storage.pull(digest, tmp_path / "got")
    storage.write("checkpoint", {"folder": digest})
    storage.forget("checkpoint")
    storage.write("checkpoint", {"folder": digest})
    storage.keep("checkpoint", adapter)
    storage.write("checkpoint", {"folder": digest})
    storage.sweep(names=["checkpoint"])
    assert precious.read_bytes() == b"kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "precious", "storage"]


@pytest.mark.parametrize("document", [{"folder": "../../precious"}, {"folder": None}, {}, [], 5, {"folder": {"a": 1}}])
def test_a_name_that_stands_for_no_folder_is_replaced(document: object, tmp_path: Path, adapter: Path) -> None:
    storage = Storage((tmp_path / "storage").as_uri())
    storage.write("checkpoint", document)
    with pytest.raises(Damaged):
        storage.recall("checkpoint", tmp_path / "got")
    storage.sweep(names=["checkpoint"])
    storage.write("checkpoint", document)
    storage.keep("checkpoint", adapter)
    assert content_of(storage.recall("checkpoint", tmp_path / "got") or tmp_path) == content_of(adapter)


@pytest.mark.parametrize("name", ["../precious", "/precious", "..", "", "a/b"])
def test_no_name_leads_out_of_the_storage(name: str, url: str) -> None:
    for call in (Storage(url).read, Storage(url).remove, Storage(url).forget):
        with pytest.raises(StoreError):
            call(f"{name}/../..")
    with pytest.raises(StoreError):
        Storage(url).pull(name, Path("nowhere"))


@pytest.mark.parametrize("kind", ["files", "folders", "documents"])
def test_a_part_of_the_storage_that_is_a_link_is_not_followed(kind: str, tmp_path: Path, adapter: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "precious").write_bytes(b"kept")
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / kind).symlink_to(home)
    storage = Storage((tmp_path / "storage").as_uri())
    for call in (storage.sweep, lambda: storage.keep("checkpoint", adapter)):
        with pytest.raises(StoreError, match="link"):
            call()
    assert [path.name for path in home.iterdir()] == ["precious"]


def test_links_and_pipes_among_the_files_are_neither_read_nor_followed(tmp_path: Path, adapter: Path) -> None:
    root, home = tmp_path / "storage", tmp_path / "home"
    home.mkdir()
    (home / "precious").write_bytes((adapter / "weights").read_bytes())  # even with the right content
    storage = Storage(root.as_uri())
    digest = storage.push(adapter)
    weights = root / "files" / hashlib.sha256((adapter / "weights").read_bytes()).hexdigest()
    weights.unlink()
    weights.symlink_to(home / "precious")
    (root / "files" / "linked").symlink_to(home)
    with pytest.raises(Damaged):
        storage.pull(digest, tmp_path / "got")
    os.mkfifo(weights)
    with pytest.raises(Damaged):
        storage.pull(digest, tmp_path / "got")
    storage.sweep()
    assert (home / "precious").read_bytes() == (adapter / "weights").read_bytes()
    assert not list((root / "files").iterdir())


def test_a_file_of_another_size_than_listed_is_not_fetched(tmp_path: Path, adapter: Path) -> None:
    root = tmp_path / "storage"
    storage = Storage(root.as_uri())
    storage.push(adapter)
    digest = forged(root, {"weights": {"sha256": hashlib.sha256((adapter / "weights").read_bytes()).hexdigest(), "bytes": 10}})
    with pytest.raises(Damaged):
        storage.pull(digest, tmp_path / "got")
