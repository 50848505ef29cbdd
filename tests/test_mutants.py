"""The tool that turns conditions around finds the one that no test looks at."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mutants import mutants

ROOT = Path(__file__).parent.parent
MODULE = """
def is_of_age(age: int) -> bool:
    return age >= 18


def count_down(n):
    while n > 0:
        n -= 1
    return n
"""
WEAK = """
from ages import count_down, is_of_age

def test_a_child_is_not_of_age():
    assert not is_of_age(7)
    assert is_of_age(30)

def test_it_ends_at_nought():
    assert count_down(3) == 0
"""
STRONG = WEAK + "    assert is_of_age(18)\n    assert count_down(-2) == -2\n"


def run(folder: Path, tests: str) -> tuple[int, list[str]]:
    """The exit code and the lines of a run over MODULE."""
    (folder / "ages.py").write_text(MODULE)
    (folder / "test_ages.py").write_text(tests)
    command = [sys.executable, ROOT / "tests" / "mutants.py", "ages.py", "--", "-q", "test_ages.py"]
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # half the time
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert (folder / "ages.py").read_text() == MODULE
    return done.returncode, done.stdout.splitlines()


def test_the_condition_that_no_test_looks_at_is_named(tmp_path: Path) -> None:
    code, lines = run(tmp_path, WEAK)
    assert code == 1
    assert lines == [
        "ages.py:3: age >= 18 -> age < 18: killed by test_ages.py::test_a_child_is_not_of_age",
        "ages.py:3: age >= 18 -> age > 18: SURVIVED",
        "ages.py:7: n > 0 -> n <= 0: killed by test_ages.py::test_it_ends_at_nought",
        "ages.py:7: n > 0 -> n >= 0: killed by test_ages.py::test_it_ends_at_nought",
        "ages.py: 4 mutants, 3 killed, 1 survived",
    ]


def test_tests_that_look_at_every_condition_leave_none(tmp_path: Path) -> None:
    code, lines = run(tmp_path, STRONG)
    assert (code, lines[-1]) == (0, "ages.py: 4 mutants, 4 killed, 0 survived")


@pytest.mark.parametrize("tests", [WEAK + "    assert False\n", "def test_nothing():\n    pass\n"])
def test_tests_that_fail_or_never_import_the_module_prove_nothing(tmp_path: Path, tests: str) -> None:
    code, lines = run(tmp_path, tests)
    assert code == 2
    assert lines[-1].startswith("Without a mutant")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("if a and not b: pass", ["not (a and (not b))", "not a", "b"]),
        ("x = [i for i in s if i]", ["not i"]),
        ("x = a if b else c", ["not b"]),
        ("x = a or 'word'", ["not a", "not 'word'"]),
        ("x = 0 < a <= 9", ["0 >= a <= 9", "0 <= a <= 9", "0 < a > 9", "0 < a < 9"]),
        ("x = ~q, t.c.way.is_(None)", ["q", "t.c.way.is_not"]),
        ("if TYPE_CHECKING: pass", []),
        ("def f() -> bool:\n return g(1)", ["not g(1)"]),
        ("def f() -> int:\n return g(1)", []),
    ],
)
def test_every_form_of_a_condition_is_turned_around_once(source: str, found: list[str]) -> None:
    assert [mutant.new for mutant in mutants(source, Path("m.py"))] == found


def test_only_the_functions_that_are_named_are_changed() -> None:
    assert {mutant.line for mutant in mutants(MODULE, Path("m.py"), ["count_down"])} == {7}
