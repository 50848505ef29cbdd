"""What holds for every test: nothing dials out, Ctrl-C means what it says, and a store is migrated once for all of them."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import twin.store.engine

gc.disable()  # until everything is collected: what tests and libraries define stays, and looking through it took half of the time

ROOT = Path(__file__).parent.parent
EGRESS = ROOT / "tests" / "egress"
EGRESS_LOG = Path(tempfile.mkdtemp(prefix="twin-egress-")) / "attempts"

EGRESS_LOG.touch()
os.environ["EGRESS_LOG"] = str(EGRESS_LOG)
os.environ["PYTHONPATH"] = os.pathsep.join([str(EGRESS), *filter(None, [os.environ.get("PYTHONPATH")])])  # for subprocesses
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads make shared cores ten times slower
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # pytest has a worker or more on each of two cores; and two threads that wait for each other wait for both
os.environ.setdefault("TWIN_MODELS", str(ROOT / "build" / "models"))


def _audit_this_process() -> None:
    spec = importlib.util.spec_from_file_location("egress_audit", EGRESS / "sitecustomize.py")
    assert spec
    assert spec.loader
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


_audit_this_process()


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script, pytest ignores Ctrl-C, and every process that a test starts would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# What keeps to one worker, the longest first. A file that is not named here is a group of its own.
# These compute all the time, one worker a core; the bot's tests mostly wait, so other workers have them meanwhile.
GROUPS = {
    "nights": ("cli/test_nights.py", "cli/test_nights_kills.py", "cli/test_nights_vllm.py"),
    "ray": ("cli/test_ray.py",),
    "vllm": ("inference/test_vllm_server.py", "inference/test_vllm_adapters.py", "cli/test_serving.py"),
    "demo": ("cli/test_demo.py",),
    "families": ("inference/test_families.py",),
}
COMPUTING_WORKERS = 2
WAITING = "tests/bot/"
OF_FILE = {f"tests/{name}": group for group, names in GROUPS.items() for name in names}


def _group(nodeid: str) -> str:
    name = nodeid.partition("::")[0]
    return OF_FILE.get(name, name)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of a group share what it sets up, so they run in one worker. (xdist's own groups do nothing under pytest 9.)"""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:  # xdist's documented way to a scheduler of one's own
            return _group(nodeid)

        def _assign_work_unit(self, node: Any) -> None:
            """The first workers take from the beginning of what is left, the others from its end."""
            if int(node.gateway.id.removeprefix("gw")) >= COMPUTING_WORKERS:
                self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
            super()._assign_work_unit(node)

    config.option.loadscopereorder = False
    return ByGroup(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest begins first, so that no worker waits for it in the end; what waits comes last."""
    order = {group: place for place, group in enumerate(GROUPS)}
    items.sort(key=lambda item: order.get(_group(item.nodeid), len(order) + item.nodeid.startswith(WAITING)))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _stores_are_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A store that a test makes is a copy of one file: migrating took 150 ms in each of 550 tests. Who asks for migrations gets them."""
    migrate = twin.store.engine.migrate
    made = tmp_path_factory.mktemp("store") / "twin.sqlite"
    migrate(made)

    def copy(path: Path, *revision: str) -> None:
        if path.exists() or revision:
            migrate(path, *revision)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(made, path)  # its mode is of the file that `migrate` made

    twin.store.engine.migrate = copy  # type: ignore[assignment]
    yield
    twin.store.engine.migrate = migrate


@pytest.fixture(autouse=True)
def nothing_dials_out() -> Iterator[None]:
    """Fails the test in which this process, or one that it started, tried to reach beyond loopback."""
    yield
    attempts = _new_attempts()
    assert not attempts, f"Something tried to reach beyond this machine:\n{attempts}"


def _new_attempts(told: list[int] = [0]) -> str:  # noqa: B006 - how much of the file was told already
    """What was tried since the last call: also by fixtures that were set up before the test's own."""
    attempts = EGRESS_LOG.read_bytes()[told[0] :]
    told[0] += len(attempts)
    return attempts.decode()


def pytest_unconfigure() -> None:
    gc.unfreeze()


LEFT: list[str] = []  # what workers complain of


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of pytest-xdist has ended."""
    LEFT.extend(getattr(node, "workeroutput", {}).get("left", []))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run for an attempt to reach out outside of any test; tells of processes that outlive the tests."""
    left = [*LEFT, *_new_attempts().splitlines(), *_living()]
    shutil.rmtree(EGRESS_LOG.parent, ignore_errors=True)
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left"] = left
    elif left:
        if session.exitstatus == pytest.ExitCode.OK and not all(line.startswith("process ") for line in left):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED  # a process that lingers is only told of so far
        session.config.get_terminal_writer().line("\nThe tests left this behind:\n" + "\n".join(left))


def _living(seconds: float = 5.0) -> list[str]:
    """Processes that tests started and that go on: they have our log's name in their environment. multiprocessing's own end with us."""

    def found() -> list[str]:
        named = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = " ".join(process.cmdline())
                ours = process.pid != os.getpid() and process.environ().get("EGRESS_LOG") == str(EGRESS_LOG)
                if ours and "multiprocessing" not in words and process.status() != psutil.STATUS_ZOMBIE:
                    named.append(f"process {process.pid}: {words[:200]}")
        return named

    deadline = time.monotonic() + seconds
    while found() and time.monotonic() < deadline:
        time.sleep(0.1)
    return found()
