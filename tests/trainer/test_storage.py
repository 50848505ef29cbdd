"""What travels through the storage arrives whole or not at all, and nothing travels twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
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
    import hashlib

    storage = Storage((tmp_path / "storage").as_uri())
    storage.push(adapter)
    evil = json.dumps({"../../evil": {"sha256": "0" * 64, "bytes": 1}}).encode()
    digest = hashlib.sha256(evil).hexdigest()
    (tmp_path / "storage" / "folders" / f"{digest}.json").write_bytes(evil)
    with pytest.raises(StoreError, match="outside"):
        storage.pull(digest, tmp_path / "got")


PUSHING = """
import sys
from pathlib import Path
from trainer.storage import Storage
print("ready", flush=True)
Storage(sys.argv[1]).push(Path(sys.argv[2]))
"""


SUM = "0" * 64
FORGED = [
    {"../evil": {"sha256": SUM, "bytes": 1}},
    {"/evil": {"sha256": SUM, "bytes": 1}},
    {"a/../../evil": {"sha256": SUM, "bytes": 1}},
    {"a\\..\\evil": {"sha256": SUM, "bytes": 1}},
    {"C:evil": {"sha256": SUM, "bytes": 1}},
    {"": {"sha256": SUM, "bytes": 1}},
    {"a//b": {"sha256": SUM, "bytes": 1}},
    {"a": {"sha256": "../../precious", "bytes": 1}},
    {"a": {"sha256": "/precious", "bytes": 1}},
    {"a": {"sha256": SUM.upper().replace("0", "A"), "bytes": 1}},
    {"a": {"sha256": SUM + "\n", "bytes": 1}},
    {"a": {"sha256": 7, "bytes": 1}},
    {"a": {"sha256": SUM, "bytes": -1}},
    {"a": {"sha256": SUM, "bytes": "1"}},
    {"a": {"sha256": SUM, "bytes": True}},
    {"a": {"sha256": SUM}},
    {"a": {"sha256": SUM, "bytes": 1, "link": "/"}},
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


@pytest.mark.parametrize("folder", ["../../precious", "/precious", 7, None, ["x"], "0" * 63, {"a": 1}], ids=str)
def test_a_name_that_stands_for_no_checksum_is_damaged_and_written_over(tmp_path: Path, adapter: Path, folder: object) -> None:
    storage = Storage((tmp_path / "storage").as_uri())
    for document in ({"folder": folder}, {}, [folder]):
        storage.write("checkpoint", document)
        with pytest.raises(Damaged, match="no checksum"):
            storage.recall("checkpoint", tmp_path / "fetched")
        with pytest.raises(Damaged):
            storage.pull(folder, tmp_path / "fetched")
        storage.keep("checkpoint", adapter)
        assert storage.recall("checkpoint", tmp_path / "fetched")
        shutil.rmtree(tmp_path / "fetched")
        storage.sweep(names=["checkpoint"])


def test_a_document_that_is_no_json_is_damaged(tmp_path: Path) -> None:
    storage = Storage((tmp_path / "storage").as_uri())
    storage.write("checkpoint", 1)
    (tmp_path / "storage" / "documents" / "checkpoint.json").write_bytes(b"\xff{")
    with pytest.raises(Damaged, match="no JSON"):
        storage.read("checkpoint")


@pytest.mark.parametrize("kind", ["files", "folders", "documents"])
def test_nothing_is_removed_through_a_link(tmp_path: Path, adapter: Path, kind: str) -> None:
    storage = Storage((tmp_path / "storage").as_uri())
    storage.keep("checkpoint", adapter)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "precious").write_text("mine")
    shutil.rmtree(tmp_path / "storage" / kind)
    (tmp_path / "storage" / kind).symlink_to(tmp_path / "home")
    with pytest.raises(StoreError, match="leads out"):
        storage.sweep()
    assert (tmp_path / "home" / "precious").read_text() == "mine"


def test_a_file_of_another_size_than_was_said_is_not_fetched(tmp_path: Path, adapter: Path) -> None:
    storage = Storage((tmp_path / "storage").as_uri())
    digest = storage.push(adapter)
    listing = json.loads((tmp_path / "storage" / "folders" / f"{digest}.json").read_text())
    big = tmp_path / "storage" / "files" / listing["weights"]["sha256"]
    big.write_bytes(big.read_bytes() + b"x")
    with pytest.raises(Damaged):
        storage.pull(digest, tmp_path / "fetched")


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
