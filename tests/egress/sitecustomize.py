"""Lets no Python process of the tests reach beyond this machine, and writes down who tried.

Python imports a module of this name at its start when PYTHONPATH leads to it, so subprocesses have it too; tests/conftest.py
puts it there and in the test process. It listens to Python's audit events (PEP 578): a connection or a datagram to anything
but loopback, and a question to a name server, fail as they do without a network, and are one line in the file EGRESS_LOG.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from typing import Any

SENDS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
ASKS = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
OWN_NAMES = frozenset({"", "localhost", "localhost.localdomain", os.uname().nodename})


def is_loopback(host: str) -> bool:
    return host.startswith(("127.", "::ffff:127.")) or host == "::1"


def is_local_name(host: str) -> bool:
    """Whether looking it up asks nobody: a name of this machine, or an address already."""
    return host in OWN_NAMES or ":" in host or host.replace(".", "").isdigit()


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in SENDS:
        address = arguments[1]
        if isinstance(address, tuple) and isinstance(address[0], str | bytes):  # others are sockets of this machine: unix, netlink
            host = _text(address[0])
            if not is_loopback(host) and host not in OWN_NAMES:
                _note(event, f"{host}:{address[1]}")
                raise OSError(errno.ENETUNREACH, f"the tests reach no further than this machine, not {host}")
    elif event in ASKS:
        host = _text(arguments[0])
        if not is_local_name(host):
            from socket import EAI_AGAIN, gaierror

            _note(event, host)
            raise gaierror(EAI_AGAIN, f"the tests ask no name server, not for {host}")


def _text(host: Any) -> str:
    return host.decode(errors="replace") if isinstance(host, bytes) else host or ""


def _note(event: str, where: str) -> None:
    log = os.environ.get("EGRESS_LOG")
    if not log:
        return
    callers = []
    frame = sys._getframe(2)
    while frame and len(callers) < 8:
        callers.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    line = json.dumps({"event": event, "to": where, "pid": os.getpid(), "argv": sys.argv[:3], "callers": callers})
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())  # one write: processes share the file
    finally:
        os.close(descriptor)


if os.environ.get("EGRESS_LOG"):
    sys.addaudithook(audit)
