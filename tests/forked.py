"""Processes of the tests, forked off a server that has imported what they need: each begins at once and shares no memory.

The server is multiprocessing's own, one for each test process. It has one thread, no event loop and no open file of a test, reaps its
children, and ends with the test process; its children end with it.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import pkgutil
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

import pytest

IMPORTED = ("bot_process", "live_process", "collect_worker")  # with all that they import
PR_SET_PDEATHSIG = 1
_CONTEXT = multiprocessing.get_context("forkserver")
Say = Callable[[str], None]


class Child:
    """A process of its own, as the test sees it. It says words: see `fork`."""

    def __init__(self, process: Any, words: Connection) -> None:
        self._process, self._words = process, words
        self.pid: int = process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.exitcode is None

    def kill(self) -> None:
        self._process.kill()

    async def hear(self) -> str:
        """The next word that it has said; "" if it ended without one."""
        await _readable(self._words.fileno())
        try:
            return str(self._words.recv())
        except EOFError:
            return ""

    async def wait(self) -> int:
        """Its exit status, once it has ended and the server has reaped it: -9 after SIGKILL."""
        await _readable(self._process.sentinel)
        return int(self._process.exitcode)

    async def died_at(self, point: str) -> None:
        """It has died there by itself: its last word is the point, or else what went wrong."""
        async with asyncio.timeout(240):
            assert (await self.hear(), await self.wait()) == (point, -signal.SIGKILL)


async def fork(function: str, *arguments: Any) -> Child:
    """Call `function` ("module:name") in a new process, with `say` and the arguments. An error is said as its traceback."""
    _start_server()
    words, mouth = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_run, args=(IMPORTED, function, mouth, arguments), daemon=True)
    await asyncio.to_thread(process.start)  # the first one waits until the server has imported everything
    mouth.close()  # the child has its own, so that its death is the end of the pipe
    return Child(process, words)


def _start_server() -> None:
    _CONTEXT.set_forkserver_preload([*IMPORTED])
    with pytest.MonkeyPatch.context() as patch:
        # Python 3.11 hands sys.path to the children, but not to the server. The audit of tests/egress stands first.
        patch.setenv("PYTHONPATH", os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), *filter(None, sys.path)]))
        forkserver.ensure_running()


def _run(imported: tuple[str, ...], function: str, mouth: Connection, arguments: tuple[Any, ...]) -> None:
    """In the child."""
    # The server lives while anybody holds this pipe, and hands it to its children: they would hold each other alive.
    os.close(forkserver._forkserver._forkserver_alive_fd)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        assert not set(imported) - sys.modules.keys(), "the server has not imported what its children need"
        assert len(os.listdir("/proc/self/task")) == 1, "the server had threads, and the child has lost them"
        pkgutil.resolve_name(function)(mouth.send, *arguments)
    except BaseException:
        mouth.send(traceback.format_exc())
        raise


async def _readable(descriptor: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
