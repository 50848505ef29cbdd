"""Turn each condition of a module around, one at a time, and see whether a test notices.

    python tests/mutants.py twin/sending.py -- tests/twin/test_takeover.py tests/bot/test_ways.py
    python tests/mutants.py trainer/lora.py --of batch_loss -- tests/trainer/test_batches.py

A line for each mutant says which test killed it, or that it SURVIVED: then no test fails if that condition is wrong. Tests run
in the order given and stop at the first that fails, so name the quick ones first. Nothing is written: each mutant is compiled in
a forked child, which imports it in place of the module; libraries are imported once, before. A program that a test starts
imports the module as it is.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, SourceFileLoader
from multiprocessing.connection import Connection
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

FLIPPED = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
BOUNDARY = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
SQL = {"is_": "is_not", "is_not": "is_", "in_": "not_in", "not_in": "in_"}  # SQLAlchemy's comparisons that are methods
OPTIONS = ("-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")  # plugins are imported before it
LEAST_SECONDS = 20.0


@dataclass(frozen=True)
class Mutant:
    line: int
    old: str
    new: str
    code: CodeType


def mutants(source: str, path: Path, names: Sequence[str] = ()) -> Iterator[Mutant]:
    """All mutants of a module, by line; with `names`, of these functions and classes alone."""
    tree = ast.parse(source)
    roots = [node for node in ast.walk(tree) if getattr(node, "name", None) in names] if names else [tree]
    found = [site for root in roots for site in _sites(root)]
    for holder, name, place, old, new in sorted(found, key=lambda site: (site[3].lineno, site[3].col_offset)):
        value = getattr(holder, name)
        setattr(holder, name, new if place is None else [*value[:place], new, *value[place + 1 :]])
        yield Mutant(old.lineno, ast.unparse(old), ast.unparse(new), compile(ast.fix_missing_locations(tree), path, "exec"))
        setattr(holder, name, value)


def _sites(root: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, Any, ast.expr]]:
    """Where a node is put in place of another: its holder, the holder's field, the place in it, the old and the new node."""
    claims = [node for node in ast.walk(root) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    claims = [node for node in claims if node.returns and ast.unparse(node.returns) == "bool"]
    answers = {node for claim in claims for node in ast.walk(claim) if isinstance(node, ast.Return)}
    for holder in ast.walk(root):
        for name, value in ast.iter_fields(holder):
            for place, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                is_condition = name in ("test", "ifs", "guard") or isinstance(holder, ast.BoolOp) or holder in answers
                if isinstance(node, ast.expr):
                    for new in _turned(node, is_condition=is_condition):
                        yield holder, name, place, node, ast.copy_location(new, node)


def _turned(node: ast.expr, *, is_condition: bool) -> Iterator[ast.expr]:
    if isinstance(node, ast.Compare):
        for place, old in enumerate(node.ops):
            for table in (FLIPPED, BOUNDARY):
                if new := table.get(type(old)):
                    turned = copy(node)
                    turned.ops = [*node.ops[:place], new(), *node.ops[place + 1 :]]
                    yield turned
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        yield node.operand
    elif is_condition and ast.unparse(node) != "TYPE_CHECKING":
        yield ast.UnaryOp(ast.Not(), node)
    elif isinstance(node, ast.Attribute) and node.attr in SQL:
        yield ast.Attribute(node.value, SQL[node.attr], node.ctx)


class Overlay(SourceFileLoader):
    """Imports a mutant in place of the module in this file."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        super().__init__(name, str(path))
        self._code = code
        self.was_imported = False

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        self.was_imported = True
        return self._code


@dataclass(eq=False)  # pytest keeps its plugins in sets
class Ran:
    """`failed`: the first test that did, or the file that could not be collected. `met`: the module was imported."""

    code: int = -1
    failed: str = ""
    met: bool = True
    libraries: list[str] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def run(arguments: Sequence[str], seconds: float | None, overlay: Overlay | None, log: Path) -> Ran:
    """Run pytest in a forked child."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    child = fork.Process(target=_child, args=(arguments, overlay, log, theirs))
    child.start()
    assert child.pid
    theirs.close()
    try:
        found = ours.recv() if ours.poll(seconds) else Ran(failed=f"its {seconds:.0f} seconds being up")
    except EOFError:
        found = Ran(failed="a crash")
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # and what the tests have started
    child.join()
    return found


def _child(arguments: Sequence[str], overlay: Overlay | None, log: Path, answer: Connection) -> None:
    os.setsid()
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        if overlay:
            sys.meta_path.insert(0, overlay)
        ran = Ran()
        ran.code = int(pytest.main([*arguments, *OPTIONS], plugins=[ran]))
        ran.libraries = [name for name, module in sys.modules.items() if "site-packages" in (getattr(module, "__file__", None) or "")]
        ran.met = overlay is None or overlay.was_imported
        sys.stdout.flush()
        answer.send(ran)
        time.sleep(LEAST_SECONDS)  # until it is killed: what an orderly end would wait for is nobody's


def main(argv: Sequence[str]) -> int:
    """Prints a line for each mutant and a summary; 1 if one survived, 2 if the tests fail without any."""
    own, tests = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("module", type=Path)
    parser.add_argument("--of", nargs="+", default=[], metavar="NAME", help="functions and classes; without it, the whole module")
    parser.add_argument("--lines", nargs="+", type=int, default=[], metavar="LINE", help="those that survived before, say")
    asked = parser.parse_args(own)
    path, source = asked.module.resolve(), asked.module.read_text()
    name = ".".join(asked.module.with_suffix("").parts).removesuffix(".__init__")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch
    sys.path.insert(0, "")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        unchanged = Overlay(name, path, compile(source, path, "exec"))
        for library in run(tests, None, None, log).libraries:
            with suppress(Exception):
                importlib.import_module(library)
        began = time.monotonic()
        as_it_is = run(tests, None, unchanged, log)
        if as_it_is.code or not as_it_is.met:
            why = "the tests do not pass" if as_it_is.code else f"no test imports {name}"
            sys.stdout.write(f"{log.read_text()}\nWithout a mutant {why}.\n")
            return 2
        limit = LEAST_SECONDS + 4 * (time.monotonic() - began)
        killed = survived = 0
        for mutant in mutants(source, path, asked.of):
            if asked.lines and mutant.line not in asked.lines:
                continue
            ran = run(tests, limit, Overlay(name, path, mutant.code), log)
            killed, survived = (killed + 1, survived) if ran.code else (killed, survived + 1)
            end = f"killed by {ran.failed or f'exit code {ran.code}'}" if ran.code else "SURVIVED"
            sys.stdout.write(f"{asked.module}:{mutant.line}: {mutant.old} -> {mutant.new}: {end}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{asked.module}: {killed + survived} mutants, {killed} killed, {survived} survived\n")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
