"""Import torch, transformers and PEFT without what comes along only because it is installed.

A child of a night spent 9 s on imports, two of them on garbage collections and almost three on bitsandbytes, which brings
torch's compiler with it. Nothing that an import makes is garbage, and bitsandbytes is of use to quantised training alone.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lean_imports(*, hidden: tuple[str, ...] = ("bitsandbytes", "scipy", "sklearn")) -> Iterator[None]:
    """Collect no garbage meanwhile, and let the `hidden` packages pass for not installed, unless they are imported already.

    A library that asks once whether a package is there and keeps the answer, as PEFT does, keeps "no".
    """
    absent = [name for name in hidden if name not in sys.modules]
    collected = gc.isenabled()
    gc.disable()
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own mark for what cannot be imported
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
        if collected:
            gc.enable()
