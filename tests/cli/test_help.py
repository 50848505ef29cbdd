"""Help is quick, whole and true."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from cli_scene import twin

from twin.cli import COMMANDS, load

HEAVY = ("torch", "transformers", "peft", "vllm", "telethon", "aiogram", "sqlalchemy", "alembic", "pydantic", "httpx", "structlog")
LATER = ("torch", "transformers", "peft", "vllm", "telethon", "aiogram", "matplotlib")

LOADED = """
import json, sys
from twin.cli import COMMANDS, load, main
sys.argv = ["twin", "--help"]
try:
    main()
except SystemExit as end:
    code = end.code
helped = sorted(sys.modules)
for name in COMMANDS:
    load(name)
print(json.dumps([code, helped, sorted(sys.modules)]))
"""


def test_help_lists_every_command_and_loads_no_library_that_takes_time() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=120, check=True)
    *shown, last = done.stdout.splitlines()
    code, helped, loaded = json.loads(last)
    assert code in (0, None)
    assert [name for name in COMMANDS if not any(name in line for line in shown)] == []
    assert [name for name in HEAVY if name in helped] == []
    assert [name for name in LATER if name in loaded] == [], "a command loads these when it runs, not when it is loaded"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_the_same_in_the_list_and_in_its_own_help(name: str) -> None:
    assert load(name).help.split("\n\n")[0].replace("\n", " ") == COMMANDS[name]
    ran = twin(name, "--help")
    assert ran.code == 0
    for option in ("--json", "--debug", "--data"):
        assert option in ran.out


WRONG = (["nothing"], ["collect", "--nope"], ["forget"], ["adapters", "promote"], ["contacts", "--mode", "loud"])


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_usage_is_2_and_goes_to_stderr(arguments: list[str]) -> None:
    ran = twin(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "Error" in ran.err
