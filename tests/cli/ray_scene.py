"""A real Ray cluster of one host on loopback, started as deploy/ray does, and a line to it that can be cut."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from trainer.ray_cluster import Cluster, Unreachable
from twin.cli.children import dies_with_us

NODE = Path(__file__).parent.parent.parent / "deploy" / "ray" / "node.sh"
SECONDS = 120  # a busy machine
Found = TypeVar("Found")


@dataclass(frozen=True)
class Head:
    address: str
    token: str
    cache: Path  # of the one host: what its jobs keep
    cluster: Cluster

    def jobs(self) -> list[str]:
        return [job.submission_id for job in self.cluster._client.list_jobs()]

    def job_process(self, job_id: str) -> psutil.Process:
        """The process that works on a job."""
        return until(lambda: next((p for p in psutil.process_iter() if _works_on(p, job_id)), None))


def _works_on(process: psutil.Process, job_id: str) -> bool:
    with suppress(psutil.Error):
        return any(f'"id": "{job_id}"' in part for part in process.cmdline()) and "python" in process.name()
    return False


def until(condition: Callable[[], Found | None]) -> Found:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"Not within {SECONDS} seconds.")


@contextmanager
def ray_head() -> Iterator[Head]:
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # short: sockets have names of 107 bytes at most
    (folder / "home").mkdir()
    names = (
        "",
        "dashboard-",
        "ray-client-server-",
        "dashboard-agent-listen-",
        "dashboard-agent-grpc-",
        "runtime-env-agent-",
        "metrics-export-",
    )
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    flags = [f"--{name}port={port}" for name, port in ports.items()]
    flags += ["--min-worker-port=0", "--max-worker-port=0", "--num-cpus=2", "--num-gpus=0", f"--temp-dir={folder / 't'}"]
    environment = os.environ | {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "cache")}
    for name in ("HOST", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        environment.pop(name, None)
    with (folder / "log").open("wb") as log:
        head = subprocess.Popen(
            [NODE, "head", *flags], stdout=log, stderr=log, env=environment, start_new_session=True, preexec_fn=dies_with_us()
        )
    try:
        kept = folder / "home" / ".ray" / "auth_token"
        until(lambda: kept.exists() and len(kept.read_text()) == 64)
        assert kept.stat().st_mode & 0o077 == 0
        cluster = Cluster(f"http://127.0.0.1:{ports['dashboard-']}", kept.read_text())

        def is_ready() -> bool:
            assert head.poll() is None, (folder / "log").read_text()
            with suppress(Unreachable):
                return bool(cluster.nodes())
            return False

        until(is_ready)
        yield Head(cluster.address, kept.read_text(), folder / "cache" / "telegram-twin", cluster)
    finally:
        _end(head, str(folder / "home"))
        shutil.rmtree(folder, ignore_errors=True)


def _end(head: subprocess.Popen[bytes], home: str) -> None:
    """Ask the head to end its cluster; whatever it started, and what that started, is gone afterwards."""
    head.terminate()
    with suppress(subprocess.TimeoutExpired):
        head.wait(20)
    for process in _at_home(home):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    head.wait()
    until(lambda: not _at_home(home))


def _at_home(home: str) -> list[psutil.Process]:
    """The living processes that were given this HOME."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("HOME") == home and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in taken]
    for server in taken:
        server.close()
    return ports


class Line:
    """A TCP line to the cluster: `cut` breaks all connections and takes no new ones, until it is mended."""

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("http://").split(":")
        self._to = (host, int(port))
        self._is_cut = False
        self._open: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._is_cut = True
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._is_cut = False

    def close(self) -> None:
        self.cut()
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return  # closed
            if self._is_cut:
                near.close()
                continue
            try:
                far = socket.create_connection(self._to)
            except OSError:
                near.close()
                continue
            self._open |= {near, far}
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        self._open.discard(source)
        source.close()
